//! `keyway publish`, `releases`, `show`, `diff`.

use serde_json::json;

use super::{Cli, REFUSED, cells};
use crate::setup::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn publishing_says_what_became_a_release() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    let component = fixtures::Guest::named("echo").load().expect("built");
    let file = cli.file("echo.wasm", &component);
    let said = cli.run(&["publish", &file]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let digest = said.out.trim_end().strip_prefix("fixtures/echo@1.0.0 ").expect(&said.out);
    assert_eq!((digest.len(), &digest[..7]), (7 + 64, "sha256:"));
    // The same bytes again are no error, and are told apart.
    let again = cli.ok(&["publish", &file]);
    assert_eq!(again, format!("fixtures/echo@1.0.0 {digest} (published before)\n"));
    let release = cli.json(&["publish", &file]);
    assert_eq!(release["component_bytes"], component.len());
    let other = cli.file("other.wasm", fixtures::padded(&component, component.len() + 64));
    cli.fails(&["publish", &other], REFUSED, "version-taken: ");
    let module = cli.file("module.wasm", b"\0asm\x01\0\0\0");
    cli.fails(&["publish", &module], REFUSED, "component-is-module: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_listed_shown_and_compared() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    let (one, two) = (cli.publish("echo"), cli.publish("echo-next"));
    cli.publish("fetch");
    let header = ["CONNECTOR", "VERSION", "DIGEST", "PUBLISHED", "BY", "SUMMARY"];
    assert_eq!(cells(&cli.ok(&["releases"]), &header).len(), 3);
    let listed = cells(&cli.ok(&["releases", "fixtures/echo"]), &header);
    let names: Vec<_> = listed.iter().map(|row| &row[..3]).collect();
    let short = |digest: &str| digest[..7 + 12].to_owned();
    let (echo, first, second) =
        ("fixtures/echo".to_owned(), "1.0.0".to_owned(), "1.1.0".to_owned());
    assert_eq!(names, [[echo.clone(), first, short(&one)], [echo, second, short(&two)]]);
    let releases = cli.json(&["releases", "fixtures/echo"]);
    assert_eq!(releases["releases"][1]["release"]["digest"], two.as_str());

    let shown = cli.ok(&["show", "fixtures/echo@1.0.0"]);
    let head: Vec<_> = shown.lines().take(5).collect();
    assert_eq!(head[..2], ["fixtures/echo@1.0.0".to_owned(), format!("digest     {one}")]);
    assert!(head[2].starts_with("component  ") && head[2].ends_with("contract 1.0.0"), "{shown}");
    assert_eq!(head[3..], ["exports    actions, descriptor", "publisher  admin"]);
    // By its digits too, as the list shows them.
    assert_eq!(cli.ok(&["show", &short(&one)]), shown);
    assert_eq!(cli.json(&["show", &short(&one)])["descriptor"]["version"], "1.0.0");
    cli.fails(&["show", "fixtures/echo@9.9.9"], REFUSED, "unknown-release: ");
    cli.fails(&["show", "1.0.0"], REFUSED, "ambiguous-release: ");

    let compared = cli.ok(&["diff", "fixtures/echo@1.0.0", "1.1.0"]);
    assert!(compared.contains("- /descriptor/version \"1.0.0\"\n"), "{compared}");
    assert!(compared.contains("+ /descriptor/version \"1.1.0\"\n"), "{compared}");
    let compared = cli.json(&["diff", "fixtures/echo@1.0.0", &two]);
    let version = json!({"path": "/descriptor/version", "before": "1.0.0", "after": "1.1.0"});
    assert!(compared["differences"].as_array().expect("a list").contains(&version), "{compared}");
    let said = cli.run(&["diff", "fixtures/echo@1.0.0", "fixtures/fetch@1.0.0"]);
    assert_eq!(said.code, REFUSED);
    assert!(said.err.contains("are different connectors"), "{said:?}");
}
