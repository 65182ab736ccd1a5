//! Spandrel's kernel side: socket and process hooks that tell userspace which bytes moved.
//!
//! Entry points are in `probe`; `capture` is the one body that both capture profiles feed; `conn` is what
//! hangs on a socket; `emit` is the only writer of the ring.
#![no_std]
#![no_main]
// Two instructions that the language has no words for: see `read`. Both ways to build this crate allow it.
#![feature(asm_experimental_arch)]

mod call;
mod capture;
mod causality;
mod chunk;
mod conn;
mod decide;
mod emit;
mod filter;
mod globals;
mod head;
mod inject;
mod kernel;
mod maps;
mod probe;
mod read;
mod scratch;

/// The helpers that tracing programs call are for programs under a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// A reachable panic is an endless loop, which the verifier refuses: none can be shipped.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
