#![allow(clippy::all, clippy::unwrap_used, clippy::print_stdout, clippy::allow_attributes_without_reason)]
use std::{sync::Arc, time::{Duration, Instant}, collections::HashMap, sync::Mutex};
use keyway_core::{ports::*, call::*, exchange::*, *};
use keyway_runtime::*;
use cap_std::{fs::Dir, ambient_authority};
struct Shelf(Mutex<HashMap<Digest, bytes::Bytes>>);
#[async_trait::async_trait] impl Components for Shelf { async fn component(&self, d: &Digest) -> Result<bytes::Bytes, Fault> { Ok(self.0.lock().unwrap()[d].clone()) } }
struct W(bool);
#[async_trait::async_trait] impl Outside for W {
  async fn send(&self, r: Request) -> Result<Response, Failure> { if self.0 {println!("   send {} {}", r.method, r.url);} Err(Failure::denied("x","no")) }
  fn now(&self) -> u64 { 1_700_000_000_123 } fn random(&self, b: &mut [u8]) { b.fill(4) }
  fn config(&self) -> Json { "{}".into() } fn connection(&self) -> Json { "{}".into() }
  fn log(&self, l: LogLevel, m: &str, f: &str) { if self.0 { println!("   log {l:?} {} {f}", &m[..m.len().min(120)]) } }
}
#[tokio::main]
async fn main() {
  let tmp = tempfile::tempdir().unwrap();
  let mut limits = Limits::default(); limits.call.cpu_time_max = Duration::from_secs(2);
  let rt = Runtime::new(Config { limits, allocation: Allocation::Auto, cache: Dir::open_ambient_dir(tmp.path(), ambient_authority()).unwrap(), cache_key: CacheKey::new([1;32]), worker: Worker { program: "/work/main/target/debug/admission-worker".into(), args: vec![] } }, Arc::new(Shelf(Mutex::default()))).unwrap();
  let args: Vec<String> = std::env::args().skip(1).collect();
  if args[0] == "bench" { return bench(&rt, &args[1], &args[2], &args[3]).await; }
  for f in &args {
    let bytes = bytes::Bytes::from(std::fs::read(f).unwrap());
    let t = Instant::now();
    match rt.admit(bytes.clone()).await {
      Err(e) => println!("{f}\n  REFUSED {:?} {} ({:?})", e.code, e.chain(), t.elapsed()),
      Ok(a) => { println!("{f}\n  admitted {} {} {:?} contract {} ({:?})", a.descriptor.name, a.descriptor.version, a.exports, a.contract, t.elapsed());
        let r = release::ReleaseRef { connector: a.descriptor.name.clone(), version: a.descriptor.version.clone(), digest: a.digest };
        let actions: Vec<_> = a.descriptor.actions.keys().cloned().collect();
        let c = rt.load(&r, &Arc::new(a.descriptor)).await.unwrap();
        for action in actions { let t=Instant::now();
          let out = c.call(Operation::Invoke { action: action.clone(), input: "{}".into() }, Arc::new(W(actions_verbose())), Duration::from_secs(20)).await;
          match out { Ok(o) => { let s = format!("{o:?}"); println!("  {action}: ok {} ({:?})", &s[..s.len().min(100)], t.elapsed()) } Err(e) => println!("  {action}: {:?} {} ({:?})", e.code, e.detail, t.elapsed()) }
        } }
    }
  }
}
fn actions_verbose() -> bool { std::env::var("V").is_ok() }
async fn bench(rt: &Runtime, f: &str, action: &str, input: &str) {
  use wasmtime::component::*;
  let bytes = std::fs::read(f).unwrap();
  let a = rt.admit(bytes.clone().into()).await.unwrap();
  let r = release::ReleaseRef { connector: a.descriptor.name.clone(), version: a.descriptor.version.clone(), digest: a.digest };
  let c = rt.load(&r, &Arc::new(a.descriptor)).await.unwrap();
  // raw
  let mut p = wasmtime::PoolingAllocationConfig::new();
  p.total_component_instances(1000).total_stacks(1000).total_memories(2000).total_core_instances(8000).total_tables(6000).max_memory_size(128<<20).table_elements(100000).max_component_instance_size(10<<20).max_core_instance_size(10<<20).max_unused_warm_slots(2000).pagemap_scan(wasmtime::Enabled::Yes).linear_memory_keep_resident(1<<20).table_keep_resident(64<<10);
  let mut cfg = wasmtime::Config::new();
  cfg.allocation_strategy(wasmtime::InstanceAllocationStrategy::Pooling(p)).epoch_interruption(true).concurrency_support(false).max_wasm_stack(512<<10).async_stack_size(2<<20);
  let engine = wasmtime::Engine::new(&cfg).unwrap();
  struct S { t: ResourceTable, w: wasmtime_wasi::WasiCtx }
  impl wasmtime_wasi::WasiView for S { fn ctx(&mut self) -> wasmtime_wasi::WasiCtxView<'_> { wasmtime_wasi::WasiCtxView { ctx: &mut self.w, table: &mut self.t } } }
  let comp = Component::new(&engine, &bytes).unwrap();
  let mut l: Linker<S> = Linker::new(&engine);
  wasmtime_wasi::p2::add_to_linker_async(&mut l).unwrap();
  l.allow_shadowing(true); l.define_unknown_imports_as_traps(&comp).unwrap_or_else(|e| println!("{e:#}"));
  let pre = l.instantiate_pre(&comp).unwrap();
  let inst = comp.get_export_index(None, "keyway:connector/actions@1.0.0").unwrap();
  let idx = comp.get_export_index(Some(&inst), "invoke").unwrap();
  type F = (Result<String, Fail>,);
  let n = 20000;
  for round in 0..3 {
    let mut raw = Vec::new(); let mut ours = Vec::new();
    for _ in 0..n/100 {
      for _ in 0..100 { let t = Instant::now();
        let mut s = wasmtime::Store::new(&engine, S { t: ResourceTable::new(), w: wasmtime_wasi::WasiCtx::builder().build() }); s.set_epoch_deadline(1000000);
        let i = pre.instantiate_async(&mut s).await.unwrap();
        let f = i.get_typed_func::<(&str, &str), F>(&mut s, &idx).unwrap();
        let (x,) = f.call_async(&mut s, (action, input)).await.unwrap(); drop(s);
        raw.push(t.elapsed()); std::hint::black_box(x).ok(); }
      for _ in 0..100 { let t = Instant::now();
        let x = c.call(Operation::Invoke { action: action.parse().unwrap(), input: input.into() }, Arc::new(W(false)), Duration::from_secs(20)).await; ours.push(t.elapsed()); std::hint::black_box(x).ok(); }
    }
    raw.sort(); ours.sort();
    println!("round {round} raw p50 {:?} p99 {:?}   ours p50 {:?} p99 {:?}  ratio {:.2} {:.2}", raw[n/2], raw[n*99/100], ours[n/2], ours[n*99/100], ours[n/2].as_secs_f64()/raw[n/2].as_secs_f64(), ours[n*99/100].as_secs_f64()/raw[n*99/100].as_secs_f64());
  }
}
#[derive(wasmtime::component::ComponentType, wasmtime::component::Lift)] #[component(enum)] #[repr(u8)] #[derive(Clone,Copy)]
enum Kind { #[component(name="invalid-input")] A, #[component(name="unsupported")] B, #[component(name="denied")] C, #[component(name="unauthenticated")] D, #[component(name="forbidden")] E, #[component(name="not-found")] F, #[component(name="conflict")] G, #[component(name="rate-limited")] H, #[component(name="transient")] I, #[component(name="contract")] J, #[component(name="internal")] K }
#[derive(wasmtime::component::ComponentType, wasmtime::component::Lift)] #[component(record)]
struct Fail { kind: Kind, code: Option<String>, message: String, #[component(name="retry-after-ms")] r: Option<u64>, #[component(name="request-sent")] s: bool, extra: Vec<(String,String)> }
