//! Limits on one call at their last allowed value and at the first refused one, where no other file has
//! them: handles, stack.

use keyway_core::Code;

use crate::guest::Guest;
use crate::harness::{Host, failing, run};

const IO: &str = "package wasi:io@0.2.0; interface streams { resource output-stream; }";

const CLI: &str = "package wasi:cli@0.2.0;
    interface stdout {
      use wasi:io/streams@0.2.0.{output-stream};
      get-stdout: func() -> output-stream;
    }";

const STDOUT: (&str, &str) = (
    "wasi:cli/stdout@0.2.0",
    r#"(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))"#,
);

/// Opens so many handles on standard output, keeps them, and answers `1`.
fn opens(handles: usize) -> Guest {
    let body = format!(
        "(loop
           (drop (call $stdout))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if 0 (i32.lt_u (local.get $i) (i32.const {handles}))))
         (i32.store8 (i32.const 0x200) (i32.const 49))
         (call $ok (i32.const 0x200) (i32.const 1))"
    );
    Guest::action(&format!("opens-{handles}"), &body)
        .package(IO)
        .package(CLI)
        .import(STDOUT.0, STDOUT.1)
}

#[tokio::test]
async fn handles_are_held_at_the_limit() {
    const MOST: usize = 50;
    let host = Host::limited(|limits| limits.call.handles_max = MOST);
    assert_eq!(run(&host.loaded(&opens(MOST)).await, "{}").await.unwrap(), "1");
    let (code, detail) = failing(&host, &opens(MOST + 1)).await;
    assert_eq!(code, Code::GuestTrap, "{detail}");
    // The limit is what refused it.
    let host = Host::limited(|limits| limits.call.handles_max = MOST + 1);
    assert_eq!(run(&host.loaded(&opens(MOST + 1)).await, "{}").await.unwrap(), "1");
}

/// Recurses as deep as its input has bytes times 64, and answers `1`.
fn recurses() -> Guest {
    let body = "
        (drop (call $down (i32.mul (local.get $input_length) (i32.const 64))))
        (i32.store8 (i32.const 0x200) (i32.const 49))
        (call $ok (i32.const 0x200) (i32.const 1))";
    // Neither a tail call nor a loop: every frame waits for the next.
    Guest::action("recurses", body).functions(
        "(func $down (param $left i32) (result i32)
           (if (result i32) (i32.eqz (local.get $left))
             (then (i32.const 0))
             (else (i32.add (local.get $left)
               (call $down (i32.sub (local.get $left) (i32.const 1)))))))",
    )
}

#[tokio::test]
async fn stack_is_held_at_the_limit() {
    const STACK_BYTES: usize = 128 << 10;
    let limited =
        |stack_bytes: usize| Host::limited(|limits| limits.call.stack_bytes_max = stack_bytes);
    let host = limited(STACK_BYTES);
    let guest = host.loaded(&recurses()).await;
    let goes = async |connector, depth: usize| {
        let ended = run(connector, &"1".repeat(depth)).await;
        ended.map(drop).map_err(|fault| (fault.code, fault.detail))
    };
    // How much a frame takes is the compiler's affair; so the last depth that passes is looked for.
    let (mut passes, mut fails) = (1, STACK_BYTES / 64);
    while fails - passes > 1 {
        let middle = passes + (fails - passes) / 2;
        match goes(&guest, middle).await {
            Ok(()) => passes = middle,
            Err(_) => fails = middle,
        }
    }
    let (code, detail) = goes(&guest, fails).await.unwrap_err();
    assert_eq!(code, Code::GuestStack);
    assert_eq!(detail, format!("recursed beyond {STACK_BYTES} bytes of stack"));
    // A frame has 8 bytes at the least, and no more than 256 where it keeps one number.
    assert!((STACK_BYTES / 256..=STACK_BYTES / 8).contains(&(passes * 64)), "{passes}");
    // Twice the stack, twice the depth: nothing else stops it, and nothing beyond.
    let larger = limited(2 * STACK_BYTES);
    let guest = larger.loaded(&recurses()).await;
    assert_eq!(goes(&guest, fails).await, Ok(()));
    assert_eq!(goes(&guest, 2 * passes - 2).await, Ok(()));
    assert_eq!(goes(&guest, 2 * fails + 2).await.unwrap_err().0, Code::GuestStack);
}
