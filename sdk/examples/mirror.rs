//! A connector that hands on what it is given: for tests of what is changed on the way, which should be nothing.

use keyway_sdk::serde::Deserialize;
use keyway_sdk::serde_json::{Value, json, value::RawValue};
use keyway_sdk::{
    Act, ActionSpec, Actions, Describe, Descriptor, Failure, Http, ObjectSpec, Operation, Outcome,
    Page, Read, ReadRequest, ReadSpec, Record, Result, Slot, Write, WriteRequest, settings,
};

struct Mirror;

/// Where to ask.
#[derive(Deserialize)]
#[serde(crate = "keyway_sdk::serde")]
struct At {
    path: String,
}

fn http() -> Http {
    Http::new().slot("token")
}

impl Describe for Mirror {
    fn describe() -> Descriptor {
        let things = ObjectSpec::new("What it is given.")
            .read(ReadSpec::pages_of(100))
            .write([Operation::Create]);
        Descriptor::new("fixtures/mirror", "1.0.0")
            .host("api.example.com")
            .base_url("https://api.example.com")
            .slot("token", Slot::bearer())
            .config(json!({"type": "object"}))
            .object("things", things)
            .actions(&Self::actions())
    }
}

impl Act for Mirror {
    fn actions() -> Actions {
        let get = |summary: &str| ActionSpec::reads(summary).input(json!({"type": "object"}));
        Actions::new()
            .on("value", get("What the provider answers, as a value."), |at: At| {
                http().get(at.path).send()?.json::<Value>()
            })
            .on("raw", get("What the provider answers, as text."), |at: At| {
                http().get(at.path).send()?.json::<Box<RawValue>>()
            })
            .on("send", ActionSpec::writes("Sends its input."), |input: Value| {
                http().post("/sink").json(&input).send()?;
                Ok(input)
            })
            .on("facts", ActionSpec::reads("The connection."), |_: Value| settings::connection())
            .on("config", ActionSpec::reads("The configuration."), |_: Value| {
                settings::config::<Value>()
            })
            .on("fail", ActionSpec::reads("Fails."), |_: Value| {
                let failure =
                    Failure::invalid_input("it always does").detail("correlation-id", "c-7");
                Err::<Value, _>(failure.detail("correlation-id", "c-8"))
            })
    }
}

impl Read for Mirror {
    fn read(request: ReadRequest) -> Result<Page> {
        let page: Vec<Box<RawValue>> = http().get("/things").send()?.json()?;
        let mut records = Vec::new();
        for (at, data) in page.iter().enumerate() {
            let mut record = Record::new(at.to_string(), data)?;
            record.extra.clone_from(&request.extra);
            records.push(record);
        }
        let mut page = Page::last(records);
        page.extra = request.extra;
        Ok(page)
    }
}

impl Write for Mirror {
    fn create(request: WriteRequest) -> Result<Vec<Outcome>> {
        let refused = |reference| {
            Outcome::rejected(
                reference,
                Failure::invalid_input("refused").detail("correlation-id", "c-9"),
            )
        };
        let outcome = |item: keyway_sdk::Item| {
            if item.data_as::<Value>().is_ok_and(|data| data["refuse"] == true) {
                return refused(item.reference);
            }
            let mut outcome = Outcome::written(item.reference, "1");
            if let Outcome::Written(written) = &mut outcome {
                written.data = Some(item.data);
                written.extra = item.extra;
            }
            outcome
        };
        Ok(request.items.into_iter().map(outcome).collect())
    }
}

keyway_sdk::register!(Mirror: Read, Write, Act);
