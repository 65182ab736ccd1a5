//! What older kernels would refuse of the kernel object, told here, where newer ones load it without a word: a chain of
//! calls that needs too much stack, and words of the stack that are read before they are written.

mod chain;
mod frame;
mod functions;

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use self::{
    frame::{Frame, Read},
    functions::Function,
};

/// Programs that only kernels load which let unwritten words be read (6.3 and later): their hooks are no older, and
/// injection needs them.
const NEWER: [&str; 5] =
    ["sock_send_length", "sock_recv_length", "inject_again", "inject_socket", "inject_message"];

/// Looks through the object in `file`, and describes its deepest chain of calls. An empty one, for work without a kernel
/// side, passes.
pub(crate) fn check(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.is_empty() {
        return Ok("empty".to_owned());
    }
    let functions = functions::all(&bytes)
        .with_context(|| format!("{} is not as the linker writes it", file.display()))?;
    let frames: Vec<_> = functions.iter().map(frame::walk).collect();
    let deepest = chain::deepest(&functions, &frames)?;
    let mut wrong = deepest.complaints();
    let unwritten = unwritten(&functions, &frames);
    if !unwritten.is_empty() {
        wrong.push(format!(
            "words of the stack that not every way to them has written must not be read before 6.3. Often an `Option` \
             or another enum is copied, a variant of which leaves them undefined: carry plain values that are always \
             set. Seen in\n    {}",
            unwritten.join("\n    ")
        ));
    }
    if wrong.is_empty() {
        Ok(deepest.to_string())
    } else {
        bail!("older kernels refuse this:\n  {}", wrong.join("\n  "))
    }
}

/// Reads of words that were not written on every way to them, where a kernel before 6.3 would see them.
fn unwritten(functions: &[Function], frames: &[Frame]) -> Vec<String> {
    let entries = chain::entries(functions).filter(|entry| !NEWER.contains(&&*functions[*entry].name));
    let seen = chain::reached(functions, entries);
    let reads = seen.into_iter().flat_map(|function| {
        let name = &functions[function].name;
        let of = move |read: &Read| {
            format!("{name}, instruction {}: {} bytes at r10{}", read.instruction, read.length, read.offset)
        };
        frames[function].unwritten.iter().map(of)
    });
    reads.collect()
}
