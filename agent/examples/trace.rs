//! Loads the kernel side and prints raw events.
use std::time::Duration;
use spandrel::kernel::*;
fn main() {
    let profile = match std::env::args().nth(2).as_deref() { Some("syscall") => Some(Profile::Syscall), Some("socket") => Some(Profile::Socket), _ => None };
    let secs: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let t = std::time::Instant::now();
    let thr: u64 = std::env::var("THR").ok().map(|x| x.parse().unwrap()).unwrap_or(0);
    let mut o = Options { profile, scope: 0, policy: spandrel_common::sample::Policy::DEFAULT };
    o.policy.threshold = thr;
    match Kernel::load(&o) {
        Err(e) => { println!("{e}"); let mut s: Option<&dyn std::error::Error> = std::error::Error::source(&e); while let Some(x) = s { println!("  {x}"); s = x.source(); } }
        Ok((k, mut r)) => {
            println!("loaded in {:?}", t.elapsed());
            for x in k.run_time() { println!("{x:?}"); }
            let quiet = std::env::var("QUIET").is_ok();
            let t = std::time::Instant::now();
            let (_rx, tx) = std::os::unix::net::UnixStream::pair().unwrap();
            let mut n = 0u64; let mut by = 0u64;
            while t.elapsed() < Duration::from_secs(secs) {
                r.drain(1000, |e| { n += 1; by += e.len() as u64; if !quiet { show(e) } });
                r.wait(std::os::fd::AsRawFd::as_raw_fd(&tx), Duration::from_millis(10));
            }
            println!("{n} events {by} bytes");
            println!("{:?}", k.counters().unwrap());
            for x in k.run_time() { println!("{x:?} {}", x.ns / x.runs.max(1)); }
        }
    }
}
fn u64at(e: &[u8], o: usize) -> u64 { u64::from_ne_bytes(e[o..o + 8].try_into().unwrap()) }
fn show(e: &[u8]) {
    let tgid = u32::from_ne_bytes(e[24..28].try_into().unwrap());
    match e[0] {
        2 => println!("DATA tgid={tgid} conn={:x} pos={} len={} first={} last={} flags={:x} dir={} role={} dec={} uns={} wait={} {:?}", u64at(e, 32), u64at(e, 40), u64at(e, 48), u64at(e,56), u64at(e,64), u16::from_ne_bytes([e[72], e[73]]), e[74], e[75], e[76], e[77], u64at(e, 80), String::from_utf8_lossy(&e[88..])),
        1 => println!("CONN tgid={tgid} conn={:x} role={} tr={} ports {} {} ip{} {:?}", u64at(e, 32), e[60], e[61], u16::from_ne_bytes([e[62], e[63]]), u16::from_ne_bytes([e[64], e[65]]), e[66], &e[72..76]),
        3 => println!("CLOSE conn={:x} reason={} errno={}", u64at(e, 32), e[72], e[76]),
        4 => println!("EXEC tgid={tgid} {:?}", String::from_utf8_lossy(&e[304..]).chars().take(80).collect::<String>()),
        k => println!("kind {k} tgid={tgid}"),
    }
}
