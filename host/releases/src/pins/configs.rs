//! Configuration: set, taken back, removed, and taken along by a change of what runs.
//!
//! The last hundred generations are kept. A change of what runs takes along the newest that somebody set and that fits the
//! release, back to none at all: on the way back to a release its configuration is the one it had, and on the way forward
//! again the one of there.
//!
//! Whether one fits is judged before a change makes others wait ([`super::fitting`]); what is decided from it is decided
//! while they do.

use keyway_core::ids::{Actor, Installation};
use keyway_core::limits::{CONFIG_BYTES_MAX, REASON_BYTES_MAX};
use keyway_core::{Code, Digest, Fault};
use keyway_store::model::{By, Config, ConfigGeneration, Entry as AuditEntry, TakenConfig};

use super::fitting::Fitting;
use super::{Releases, Shared, not_pinned};

/// What an installation runs with for which nothing is set.
const EMPTY: &str = "{}";

/// A way back of a configuration, wanted.
#[derive(Clone, Debug)]
pub struct RevertConfigRequest {
    /// For whom.
    pub installation: Installation,
    /// Back to the configuration of this generation, 0 for none. None: to the newest that somebody set, that differs from
    /// the one there, and that fits what runs.
    pub to_generation: Option<u64>,
    /// Who says so.
    pub actor: Actor,
    /// Why, if something is said.
    pub reason: Option<String>,
    /// The generation that the actor saw last; another one now is a conflict. None: no matter.
    pub seen_generation: Option<u64>,
}

/// What a configuration is to be next.
pub(super) struct Content {
    /// None: none is set.
    json: Option<String>,
    /// The generation that it goes back to.
    back_to: Option<u64>,
}

// === impl Releases ===

impl Releases {
    /// Sets an installation's configuration, held against the schema of what it runs. `json` is kept as it is written.
    pub async fn set_config(
        &self,
        installation: Installation,
        json: &str,
        actor: Actor,
    ) -> Result<Config, Fault> {
        let json = json.to_owned();
        if json.len() > CONFIG_BYTES_MAX {
            let detail = format!("configuration is over {CONFIG_BYTES_MAX} bytes");
            return Err(Fault::new(Code::BodyTooLarge, detail));
        }
        let seen = self.shared.fitting(&installation).await?;
        let mut fitting = seen.ok_or_else(|| not_pinned(&installation))?;
        fitting.judge(&json).await?;
        let _changing = self.shared.changing.lock().await;
        let declared = self.shared.declared(&installation).await?;
        let declared = declared.ok_or_else(|| not_pinned(&installation))?;
        if !fitting.is_of(Some(&declared)) {
            Fitting::new(Some(&declared)).judge(&json).await?;
        }
        let before = self.shared.store.config(&installation).await?;
        let by = self.shared.by(&actor, None);
        let content = Content { json: Some(json), back_to: None };
        self.shared.change_config("config.set", &installation, before, content, by).await
    }

    /// Goes back to an earlier configuration, as a new generation.
    pub async fn revert_config(&self, request: RevertConfigRequest) -> Result<Config, Fault> {
        let RevertConfigRequest { installation, to_generation, actor, reason, seen_generation } =
            request;
        if reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
            let detail = format!("`reason` is over {REASON_BYTES_MAX} bytes");
            return Err(Fault::new(Code::InvalidRequest, detail));
        }
        let mut fitting =
            self.shared.fitting(&installation).await?.unwrap_or_else(|| Fitting::new(None));
        if let Some(before) = self.shared.store.config(&installation).await? {
            // What is refused is refused below, if it is so still.
            drop(self.shared.content_for(&before, to_generation, &mut fitting).await);
        }
        let _changing = self.shared.changing.lock().await;
        let declared = self.shared.declared(&installation).await?;
        if !fitting.is_of(declared.as_ref()) {
            fitting = Fitting::new(declared.as_ref());
        }
        let Some(before) = self.shared.store.config(&installation).await? else {
            let detail = format!("{installation} was never configured");
            return Err(Fault::new(Code::NoHistory, detail));
        };
        let now = before.about.generation;
        if let Some(seen) = seen_generation.filter(|seen| *seen != now) {
            let detail = format!(
                "the configuration is at generation {now}, not {seen}: somebody else changed it"
            );
            return Err(Fault::new(Code::Conflict, detail));
        }
        let content = self.shared.content_for(&before, to_generation, &mut fitting).await?;
        let by = self.shared.by(&actor, reason);
        let before = Some(before);
        self.shared.change_config("config.revert", &installation, before, content, by).await
    }

    /// Leaves an installation without a configuration, as a new generation, whatever it runs: that is the way to a release
    /// that nothing fits yet. None if it never had one.
    pub async fn remove_config(
        &self,
        installation: Installation,
        actor: Actor,
    ) -> Result<Option<Config>, Fault> {
        let _changing = self.shared.changing.lock().await;
        let before = self.shared.store.config(&installation).await?;
        if before.is_none() {
            return Ok(None);
        }
        let by = self.shared.by(&actor, None);
        let content = Content { json: None, back_to: None };
        let change = self.shared.change_config("config.remove", &installation, before, content, by);
        change.await.map(Some)
    }
}

// === impl Shared ===

impl Shared {
    /// Who says so, now.
    pub(super) fn by(&self, actor: &Actor, reason: Option<String>) -> By {
        By { actor: actor.clone(), reason, at: self.clock.now() }
    }

    /// What to ask of configurations of an installation before others have to wait; none if nothing runs.
    async fn fitting(&self, of: &Installation) -> Result<Option<Fitting>, Fault> {
        Ok(self.declared(of).await?.map(|declared| Fitting::new(Some(&declared))))
    }

    /// The configuration to take along to a release; none if the one there does.
    pub(super) async fn to_take(
        &self,
        current: Option<&Config>,
        fitting: &mut Fitting,
    ) -> Result<Option<Content>, Fault> {
        let Some(current) = current else { return Ok(None) };
        let about = &current.about;
        let misfit = match fitting.judge(&current.json).await {
            Ok(()) if !about.taken => return Ok(None),
            Ok(()) => None,
            Err(fault) => Some(fault),
        };
        if let Some(content) = self.newest_that_fits(about, fitting, None).await? {
            return Ok(content);
        }
        match (about.removed, fitting.judge(EMPTY).await) {
            // As before the first was set, when a release may run without what it asks for.
            (true, _) => Ok(None),
            (false, Ok(())) => Ok(Some(Content { json: None, back_to: Some(0) })),
            (false, Err(fault)) => {
                let mut fault = misfit.unwrap_or(fault);
                fault.detail = format!(
                    "{}: {}; nor does any other that is known. Without a configuration it can be changed over",
                    about.installation, fault.detail
                );
                Err(fault)
            }
        }
    }

    /// What a way back leads to.
    async fn content_for(
        &self,
        before: &Config,
        to_generation: Option<u64>,
        fitting: &mut Fitting,
    ) -> Result<Content, Fault> {
        match to_generation {
            Some(number) => self.content_at(before, number, fitting).await,
            None => self.content_before(before, fitting).await,
        }
    }

    /// What was set at a generation, which must fit what runs if it is anything.
    async fn content_at(
        &self,
        before: &Config,
        number: u64,
        fitting: &mut Fitting,
    ) -> Result<Content, Fault> {
        let of = &before.about.installation;
        let json = match number {
            0 => None,
            number => {
                let found = self.store.config_at(of, number).await?.ok_or_else(|| {
                    let detail = format!("{of} has no configuration {number} to go back to");
                    Fault::new(Code::NoHistory, detail)
                })?;
                (!found.about.removed).then_some(found.json)
            }
        };
        // None may be left to a release that asks for some, as before the first was set.
        if let Some(json) = &json {
            fitting.judge(json).await?;
        }
        Ok(Content { json, back_to: Some(number) })
    }

    /// The newest that somebody set, that differs from the one there, and that fits what runs.
    async fn content_before(
        &self,
        before: &Config,
        fitting: &mut Fitting,
    ) -> Result<Content, Fault> {
        let about = &before.about;
        if let Some(Some(content)) = self.newest_that_fits(about, fitting, Some(about)).await? {
            return Ok(content);
        }
        if !about.removed && fitting.judge(EMPTY).await.is_ok() {
            return Ok(Content { json: None, back_to: Some(0) });
        }
        let of = &about.installation;
        let detail = format!("{of} never had another configuration that fits what runs");
        Err(Fault::new(Code::NoHistory, detail))
    }

    /// The newest that somebody set and that fits, but for what is as `except`. It is walked to from the newest, and no
    /// older one is read or judged. None: there is none. Within it, none: it is what is there already.
    async fn newest_that_fits(
        &self,
        now: &ConfigGeneration,
        fitting: &mut Fitting,
        except: Option<&ConfigGeneration>,
    ) -> Result<Option<Option<Content>>, Fault> {
        for earlier in self.store.config_history(&now.installation).await?.into_iter().rev() {
            if earlier.taken || except.is_some_and(|except| earlier.same_as(except)) {
                continue;
            }
            if fitting.known(&earlier.digest).is_some_and(Result::is_err) {
                continue;
            }
            let json = self.json_at(&earlier).await?;
            if fitting.judge(&json).await.is_ok() {
                return Ok(Some((!earlier.same_as(now)).then(|| {
                    let json = (!earlier.removed).then_some(json);
                    Content { json, back_to: Some(earlier.generation) }
                })));
            }
        }
        Ok(None)
    }

    /// Makes a configuration durable and shows it; unless it is so already, by somebody's will.
    async fn change_config(
        &self,
        action: &str,
        of: &Installation,
        before: Option<Config>,
        content: Content,
        by: By,
    ) -> Result<Config, Fault> {
        let last = before.as_ref().map_or(0, |before| before.about.generation);
        let (actor, reason) = (by.actor.clone(), by.reason.clone());
        let next = content.at(of, last + 1, by, false);
        if let Some(before) = &before
            && before.about.same_as(&next.about)
            && !before.about.taken
        {
            return Ok(before.clone());
        }
        let entry = AuditEntry {
            actor,
            action: action.to_owned(),
            object: of.to_string(),
            reason,
            before: before.map(|before| said(&before.about)),
            after: Some(said(&next.about)),
        };
        self.store.tx().set_config(next.clone()).commit(entry).await?;
        self.refresh(of).await?;
        Ok(next)
    }

    async fn json_at(&self, about: &ConfigGeneration) -> Result<String, Fault> {
        let found = self.store.config_at(&about.installation, about.generation).await?;
        let found = found.ok_or_else(|| {
            let detail = format!("configuration {} is listed and not there", about.generation);
            Fault::new(Code::Internal, detail)
        })?;
        Ok(found.json)
    }
}

// === impl Content ===

impl Content {
    /// As the generation after the one there.
    pub(super) fn follow(self, now: &ConfigGeneration, by: By, taken: bool) -> Config {
        self.at(&now.installation, now.generation + 1, by, taken)
    }

    fn at(self, of: &Installation, generation: u64, by: By, taken: bool) -> Config {
        let Self { json, back_to } = self;
        let removed = json.is_none();
        let json = json.unwrap_or_else(|| EMPTY.to_owned());
        let about = ConfigGeneration {
            installation: of.clone(),
            generation,
            digest: Digest::of(json.as_bytes()),
            removed,
            by: Some(by),
            back_to,
            taken,
        };
        Config { json, about }
    }
}

/// What a pin says of a configuration that came along.
pub(super) fn taken(config: &Config) -> TakenConfig {
    let about = &config.about;
    TakenConfig { generation: about.generation, back_to: about.back_to.unwrap_or_default() }
}

/// For the audit.
pub(super) fn describe(taken: TakenConfig) -> String {
    let TakenConfig { generation, back_to } = taken;
    match back_to {
        0 => format!("configuration {generation} (none)"),
        back_to => format!("configuration {generation} (back to {back_to})"),
    }
}

fn said(about: &ConfigGeneration) -> String {
    if about.removed { "none".to_owned() } else { about.digest.to_string() }
}
