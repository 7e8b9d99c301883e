//! A whole connector: one action, one upstream request.

use keyway_sdk::serde_json::{Value, json};
use keyway_sdk::{Act, ActionSpec, Actions, Describe, Descriptor, Http, Slot};

/// Tells the weather.
pub struct Weather;

impl Describe for Weather {
    fn describe() -> Descriptor {
        Descriptor::new("acme/weather", "1.0.0")
            .host("api.weather.example")
            .base_url("https://api.weather.example")
            .slot("key", Slot::api_key_header("x-api-key"))
            .actions(&Self::actions())
    }
}

impl Act for Weather {
    fn actions() -> Actions {
        let today = ActionSpec::reads("The weather of today.").input(json!({"type": "string"}));
        Actions::new().on("today", today, |city: String| {
            Http::new().slot("key").get("/v1/today").query("city", city).send()?.json::<Value>()
        })
    }
}

keyway_sdk::register!(Weather: Act);
