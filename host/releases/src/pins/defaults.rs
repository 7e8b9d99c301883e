//! What installations without a pin run: set and unset, with what that means for each of them.

use std::collections::HashMap;

use keyway_core::ids::{Actor, Connector, Environment, Installation};
use keyway_core::release::Release;
use keyway_core::{Code, Fault};
use keyway_store::model::{
    By, Config, DefaultGeneration, Entry as AuditEntry, EnvironmentDefault, Filter,
    InstallationState,
};

use super::fitting::Fitting;
use super::{Releases, Shared, check_reason, configs, describe};
use crate::find::Selector;
use crate::lacking::{self, Allowed, Users, first_tenants};

/// Configurations that one default takes along. Each writes up to five rows, and a commit 1,024.
const CONFIGS_TAKEN_MAX: usize = 200;

/// An environment default, wanted.
#[derive(Clone, Debug)]
pub struct DefaultRequest {
    /// Where.
    pub environment: Environment,
    /// Of what.
    pub connector: Connector,
    /// What to run.
    pub release: Selector,
    /// Who says so.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// As in [`PinRequest`](super::PinRequest), for every tenant that the default is for.
    pub allowed: Allowed,
}

/// The end of an environment default, wanted.
#[derive(Clone, Debug)]
pub struct UnsetRequest {
    /// Where.
    pub environment: Environment,
    /// Of what.
    pub connector: Connector,
    /// Who says so.
    pub actor: Actor,
    /// Why.
    pub reason: String,
}

/// What setting a default came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Defaulted {
    /// What is so now. Where nothing had to change, it is older than the wish.
    pub default: EnvironmentDefault,
    /// The first tenants whose configuration was exchanged for one that fits, and how many more; none: nobody's.
    pub configs: Option<String>,
}

/// What unsetting a default came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unset {
    /// What is so now.
    pub generation: DefaultGeneration,
    /// Of what.
    pub connector: Connector,
    /// The first tenants that now run nothing, and how many more; none: nobody.
    pub without: Option<String>,
}

// === impl Releases ===

impl Releases {
    /// Sets what installations without a pin run.
    pub async fn set_default(&self, request: DefaultRequest) -> Result<Defaulted, Fault> {
        let DefaultRequest { environment, connector, release, actor, reason, allowed } = request;
        check_reason(&reason)?;
        let release = self.find(&connector, &release).await?;
        self.shared.check_component(&release).await?;
        self.shared.load(&release).await?;
        let users = self.shared.users_without_pin(&environment, &release).await?;
        let mut fitting = self.shared.fitting_without_pin(&environment, &release).await?;
        let _changing = self.shared.changing.lock().await;
        let governed = self.shared.without_pin(&environment, &connector).await?;
        let newest = self.shared.store.newest_default(&environment, &connector).await?;
        let number = newest.as_ref().map_or(0, |newest| newest.number) + 1;
        let before = newest.and_then(DefaultGeneration::default);
        if let Some(default) = before.clone().filter(|before| before.release == release.reference) {
            self.shared.show_all(governed).await?;
            return Ok(Defaulted { default, configs: None });
        }
        let reason = lacking::settle_all(&release, &governed, &users, reason, allowed)?;
        let by = self.shared.by(&actor, Some(format!("default {number}")));
        let taken = self.shared.all_to_take(&governed, &release, &mut fitting, &by).await?;
        let default = EnvironmentDefault {
            generation: number,
            release: release.reference,
            actor,
            reason,
            at: by.at,
            environment,
        };
        let configs = describe_taken(&taken);
        self.shared.commit_default(&default, before.as_ref(), taken, configs.as_deref()).await?;
        self.shared
            .show_all(self.shared.without_pin(&default.environment, &connector).await?)
            .await?;
        Ok(Defaulted { default, configs })
    }

    /// Unsets what installations without a pin run: calls of those are refused.
    pub async fn unset_default(&self, request: UnsetRequest) -> Result<Unset, Fault> {
        let UnsetRequest { environment, connector, actor, reason } = request;
        check_reason(&reason)?;
        let _changing = self.shared.changing.lock().await;
        let Some(newest) = self.shared.store.newest_default(&environment, &connector).await? else {
            let detail = format!("environment `{environment}` has no default for {connector}");
            return Err(Fault::new(Code::NotPinned, detail));
        };
        let governed = self.shared.without_pin(&environment, &connector).await?;
        let tenants = governed.iter().map(|state| state.installation.tenant.to_string());
        let without = first_tenants(tenants);
        let Some(release) = &newest.release else {
            return Ok(Unset { generation: newest, connector, without });
        };
        let (number, by) = (newest.number + 1, self.shared.by(&actor, Some(reason)));
        let entry = AuditEntry {
            actor,
            action: "default.unset".to_owned(),
            object: format!("{environment}/{connector}"),
            reason: by.reason.clone(),
            before: Some(describe(release)),
            after: Some("no default".to_owned()),
        };
        let tx = self.shared.store.tx().unset_default(&environment, &connector, number, by.clone());
        tx.commit(entry).await?;
        self.shared.show_all(governed).await?;
        let generation = DefaultGeneration { environment, number, release: None, by };
        Ok(Unset { generation, connector, without })
    }
}

// === impl Shared ===

impl Shared {
    /// Installations of a connector that run its default.
    async fn without_pin(
        &self,
        environment: &Environment,
        connector: &Connector,
    ) -> Result<Vec<InstallationState>, Fault> {
        let filter = Filter {
            environment: Some(environment.clone()),
            connector: Some(connector.clone()),
            tenant: None,
        };
        let states = self.store.installations(&filter).await?;
        Ok(states.into_iter().filter(|state| state.pin.is_none()).collect())
    }

    /// What users lack where the release would be the default; before other changes have to wait, as in
    /// [`Self::prepare`].
    async fn users_without_pin(
        &self,
        environment: &Environment,
        release: &Release,
    ) -> Result<HashMap<Installation, Users>, Fault> {
        let mut users = HashMap::new();
        for state in self.without_pin(environment, &release.reference.connector).await? {
            let of = state.installation;
            let lacking = Users::of(&self.store, &release.descriptor, &of).await?;
            if !lacking.lack_nothing() {
                users.insert(of, lacking);
            }
        }
        Ok(users)
    }

    /// What a default says of the configurations of those that it would be for; before other changes have to wait.
    async fn fitting_without_pin(
        &self,
        environment: &Environment,
        release: &Release,
    ) -> Result<Fitting, Fault> {
        let mut fitting = Fitting::new(Some(release));
        for state in self.without_pin(environment, &release.reference.connector).await? {
            // What is refused is refused later, if it is so still.
            drop(self.to_take(state.config.as_ref(), &mut fitting).await);
        }
        Ok(fitting)
    }

    /// The configurations that installations take along to a default.
    async fn all_to_take(
        &self,
        governed: &[InstallationState],
        release: &Release,
        fitting: &mut Fitting,
        by: &By,
    ) -> Result<Vec<Config>, Fault> {
        let mut all = Vec::new();
        for config in governed.iter().filter_map(|state| state.config.as_ref()) {
            let content = self.to_take(Some(config), fitting).await?;
            all.extend(content.map(|content| content.follow(&config.about, by.clone(), true)));
            if all.len() > CONFIGS_TAKEN_MAX {
                let detail = format!(
                    "the configurations of more than {CONFIGS_TAKEN_MAX} tenants do not fit {}: pin some of them first",
                    release.reference
                );
                return Err(Fault::new(Code::ConfigInvalid, detail));
            }
        }
        Ok(all)
    }

    async fn commit_default(
        &self,
        default: &EnvironmentDefault,
        before: Option<&EnvironmentDefault>,
        taken: Vec<Config>,
        configs: Option<&str>,
    ) -> Result<(), Fault> {
        let after = describe(&default.release);
        let after = match configs {
            Some(configs) => format!("{after}, with other configurations: {configs}"),
            None => after,
        };
        let tx = self.store.tx().set_default(default.clone());
        let tx = taken.into_iter().fold(tx, keyway_store::Tx::set_config);
        tx.commit(AuditEntry {
            actor: default.actor.clone(),
            action: "default.set".to_owned(),
            object: format!("{}/{}", default.environment, default.release.connector),
            reason: Some(default.reason.clone()),
            before: before.map(|default| describe(&default.release)),
            after: Some(after),
        })
        .await?;
        Ok(())
    }

    async fn show_all(&self, states: Vec<InstallationState>) -> Result<(), Fault> {
        for state in states {
            self.show(state).await?;
        }
        Ok(())
    }
}

fn describe_taken(taken: &[Config]) -> Option<String> {
    first_tenants(taken.iter().map(|config| {
        let tenant = &config.about.installation.tenant;
        format!("tenant {tenant}: {}", configs::describe(configs::taken(config)))
    }))
}
