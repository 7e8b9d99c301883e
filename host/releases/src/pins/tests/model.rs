//! Random orders of pins, ways back, defaults and configurations, on a model that fits on a page and on the real thing:
//! what runs, with which configuration, what is in the histories and in the audit must be the same.

use proptest::prelude::*;
use tokio::runtime::Builder;

use super::*;

/// One step. Small numbers, so that steps meet.
#[derive(Clone, Debug)]
enum Step {
    Pin(usize),
    Revert,
    RevertTo(u64),
    Unpin,
    SetDefault(usize),
    UnsetDefault,
    Configure(usize),
    RemoveConfig,
    RevertConfig(Option<u64>),
}

const RELEASES: [&str; 3] = ["1.0.0", "2.0.0", "3.0.0"];

const CONFIGS: [&str; 3] = [r#"{"n":1}"#, r#"{"n":1e400}"#, r#"{"m":1}"#];

/// A configuration: one of `CONFIGS`, or none.
type Content = Option<usize>;

#[derive(Default)]
struct Model {
    /// What was pinned at each generation, and to which generation it went back.
    pins: Vec<(Option<usize>, Option<u64>)>,
    default: Option<usize>,
    defaults_said: u64,
    /// What was set at each generation, and whether it came along.
    configs: Vec<(Content, bool)>,
    changes: u64,
}

type Outcome = Result<(), Code>;

// === impl Model ===

impl Model {
    /// 1.0.0 takes none, 2.0.0 takes `n` or none, 3.0.0 takes `m` and cannot be without.
    fn fits(release: usize, content: Content) -> bool {
        matches!((release, content), (0, None) | (1, None | Some(0 | 1)) | (2, Some(2)))
    }

    fn pinned(&self) -> Option<usize> {
        self.pins.last().and_then(|(pinned, _)| *pinned)
    }

    fn runs(&self) -> Option<usize> {
        self.pinned().or(self.default)
    }

    fn content(&self) -> Content {
        self.configs.last().and_then(|(content, _)| *content)
    }

    /// What comes along to a release; none if what is there stays.
    fn taken(&self, release: usize) -> Result<Option<Content>, Code> {
        let Some((current, _)) = self.configs.last() else { return Ok(None) };
        let set =
            self.configs.iter().rev().filter(|(_, taken)| !taken).map(|(content, _)| *content);
        let newest = set.into_iter().find(|content| Self::fits(release, *content));
        match newest {
            Some(content) => Ok((content != *current).then_some(content)),
            None if current.is_none() => Ok(None),
            None if Self::fits(release, None) => Ok(Some(None)),
            None => Err(Code::ConfigInvalid),
        }
    }

    fn move_to(&mut self, pinned: Option<usize>, reverts_to: Option<u64>) -> Outcome {
        if self.pins.last().is_some_and(|(last, _)| *last == pinned) {
            return Ok(());
        }
        if let Some(release) = pinned.or(self.default) {
            let taken = self.taken(release)?;
            self.configs.extend(taken.map(|content| (content, true)));
        }
        self.pins.push((pinned, reverts_to));
        self.changes += 1;
        Ok(())
    }

    /// The newest generation under which something else ran.
    fn way_back(&self) -> Option<u64> {
        let (_, earlier) = self.pins.split_last()?;
        let runs = |pinned: &Option<usize>| pinned.or(self.default);
        let other = |(pinned, _): &_| runs(pinned).is_some() && runs(pinned) != self.runs();
        Some(earlier.iter().rposition(other)? as u64 + 1)
    }

    fn revert_to(&mut self, number: u64) -> Outcome {
        let at = usize::try_from(number).unwrap().checked_sub(1).ok_or(Code::NoHistory)?;
        let (pinned, _) = *self.pins.get(at).ok_or(Code::NoHistory)?;
        self.move_to(pinned, Some(number))
    }

    fn set_default(&mut self, release: usize) -> Outcome {
        if self.default == Some(release) {
            return Ok(());
        }
        if self.pinned().is_none() {
            let taken = self.taken(release)?;
            self.configs.extend(taken.map(|content| (content, true)));
        }
        self.default = Some(release);
        (self.defaults_said, self.changes) = (self.defaults_said + 1, self.changes + 1);
        Ok(())
    }

    fn unset_default(&mut self) -> Outcome {
        match self.default.take() {
            None if self.defaults_said == 0 => Err(Code::NotPinned),
            None => Ok(()),
            Some(_) => {
                (self.defaults_said, self.changes) = (self.defaults_said + 1, self.changes + 1);
                Ok(())
            }
        }
    }

    fn configure(&mut self, content: Content) -> Outcome {
        // None may be left to a release that asks for some.
        let misfit = |release| content.is_some() && !Self::fits(release, content);
        if self.runs().is_some_and(misfit) {
            return Err(Code::ConfigInvalid);
        }
        if self.configs.last() != Some(&(content, false)) {
            self.configs.push((content, false));
            self.changes += 1;
        }
        Ok(())
    }

    fn config_before(&self) -> Option<Content> {
        let fits = |content| self.runs().is_none_or(|release| Self::fits(release, content));
        let set = self.configs.iter().rev().filter(|(_, taken)| !taken);
        let all = set.map(|(content, _)| *content).chain([None]);
        all.into_iter().find(|content| *content != self.content() && fits(*content))
    }

    fn take(&mut self, step: &Step) -> Outcome {
        match *step {
            Step::Pin(release) => self.move_to(Some(release), None),
            Step::Revert => self.revert_to(self.way_back().ok_or(Code::NoHistory)?),
            Step::RevertTo(number) => self.revert_to(number),
            Step::Unpin if self.pins.is_empty() => Err(Code::NotPinned),
            Step::Unpin => self.move_to(None, None),
            Step::SetDefault(release) => self.set_default(release),
            Step::UnsetDefault => self.unset_default(),
            Step::Configure(_) if self.runs().is_none() => Err(Code::NotPinned),
            Step::Configure(content) => self.configure(Some(content)),
            Step::RemoveConfig if self.configs.is_empty() => Ok(()),
            Step::RemoveConfig if self.configs.last() == Some(&(None, false)) => Ok(()),
            Step::RemoveConfig => self.configure(None),
            Step::RevertConfig(_) if self.configs.is_empty() => Err(Code::NoHistory),
            Step::RevertConfig(None) => {
                self.configure(self.config_before().ok_or(Code::NoHistory)?)
            }
            Step::RevertConfig(Some(0)) => self.configure(None),
            Step::RevertConfig(Some(number)) => {
                let at = usize::try_from(number).unwrap() - 1;
                self.configure(self.configs.get(at).ok_or(Code::NoHistory)?.0)
            }
        }
    }
}

async fn real() -> Bench {
    let bench = Bench::new().await;
    let store = Store::memory(Arc::new(Fixed));
    let takes = |property: &str, required: &[&str]| json!({"config": {"properties": {property: {}}, "required": required, "additionalProperties": false}});
    publish(&store, "1.0.0", json!({})).await;
    publish(&store, "2.0.0", takes("n", &[])).await;
    publish(&store, "3.0.0", takes("m", &["m"])).await;
    Bench { releases: releases(&store, &bench.shelf), store, shelf: bench.shelf }
}

async fn take(bench: &Bench, step: &Step) -> Outcome {
    let done = match *step {
        Step::Pin(release) => bench.pin("acme", RELEASES[release]).await.map(drop),
        Step::Revert => bench.revert("acme", None).await.map(drop),
        Step::RevertTo(number) => bench.revert("acme", Some(number)).await.map(drop),
        Step::Unpin => bench.unpin("acme", None).await.map(drop),
        Step::SetDefault(release) => bench.set_default(RELEASES[release]).await.map(drop),
        Step::UnsetDefault => bench.unset_default().await.map(drop),
        Step::Configure(content) => bench.configure_as("acme", CONFIGS[content]).await.map(drop),
        Step::RemoveConfig => {
            let actor = "ann".parse().unwrap();
            bench.releases.remove_config(of("acme"), actor).await.map(drop)
        }
        Step::RevertConfig(to) => bench.revert_config("acme", to).await.map(drop),
    };
    done.map_err(|fault| fault.code)
}

/// Everything that an operator can see of it.
async fn compare(bench: &Bench, model: &Model) {
    let expected = match model.runs() {
        Some(release) => Ok(RELEASES[release].to_owned()),
        None if model.pins.is_empty() && model.configs.is_empty() => Err(Code::UnknownInstallation),
        None => Err(Code::NotPinned),
    };
    let known = !model.pins.is_empty() || !model.configs.is_empty();
    if known || model.runs().is_none() {
        assert_eq!(bench.runs("acme"), expected);
    }
    if known && model.runs().is_some() {
        assert_eq!(bench.config("acme"), model.content().map_or("{}", |content| CONFIGS[content]));
    }
    let history = bench.store.history(&of("acme")).await.unwrap();
    let pins = history.iter().map(|generation| {
        let release = generation.release.as_ref().map(|release| release.version.to_string());
        let pinned =
            release.and_then(|release| RELEASES.iter().position(|known| *known == release));
        (pinned, generation.reverts_to)
    });
    assert!(pins.eq(model.pins.iter().copied()), "{history:?}");
    let configs = bench.store.config_history(&of("acme")).await.unwrap();
    let taken = configs.iter().map(|about| (about.removed, about.taken));
    assert!(taken.eq(model.configs.iter().map(|(content, taken)| (content.is_none(), *taken))));
    assert_eq!(bench.store.seq().await.unwrap(), model.changes + 3, "three were published");
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_usize).prop_map(Step::Pin),
        3 => Just(Step::Revert),
        1 => (0..8_u64).prop_map(Step::RevertTo),
        2 => Just(Step::Unpin),
        2 => (0..3_usize).prop_map(Step::SetDefault),
        1 => Just(Step::UnsetDefault),
        3 => (0..3_usize).prop_map(Step::Configure),
        1 => Just(Step::RemoveConfig),
        1 => prop::option::of(0..6_u64).prop_map(Step::RevertConfig),
    ];
    prop::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_order_comes_to_what_the_model_says(steps in steps()) {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (bench, mut model) = (real().await, Model::default());
            for step in &steps {
                let before = bench.runs("acme");
                let expected = model.take(step);
                assert_eq!(take(&bench, step).await, expected, "{step:?}");
                if matches!(step, Step::Revert) && expected.is_ok() {
                    assert_ne!(bench.runs("acme"), before, "a revert changes what runs");
                }
                compare(&bench, &model).await;
            }
            // A host that starts anew shows the same.
            let shelf = Arc::new(Shelf::default());
            let again = Bench { releases: releases(&bench.store, &shelf), store: bench.store, shelf };
            again.releases.catch_up().await.unwrap();
            compare(&again, &model).await;
        });
    }
}
