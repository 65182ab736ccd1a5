//! Go programs: what release built them, and where in them the kernel side finds goroutines and requests.
//!
//! Everything comes from the executable, stripped or not: the release from `.go.buildinfo`, the addresses of
//! functions from `.gopclntab`, the offsets inside structures from a table of releases ([`table`]).

mod buildinfo;
mod bytes;
mod goidgen;
mod image;
mod pclntab;
pub mod process;
mod table;

use std::path::Path;

use spandrel_common::go::{Layout, Program};

use self::image::Image;

/// The function that hands a request to a connection: `RAX` the connection, `R14` the goroutine.
const ROUND_TRIP: &str = "net/http.(*persistConn).roundTrip";
/// The function in which the handler of a request begins: `RDI` the request, `R14` the goroutine.
const SERVE: &str = "net/http.serverHandler.ServeHTTP";
/// The function that starts goroutines.
const NEWPROC: &str = "runtime.newproc1";
/// Bytes of that function: it has some 1,200.
const MAX_NEWPROC: u32 = 16 * 1024;
/// Place of `textStart` in the header of the table of functions, up to Go 1.25.
const HEADER_TEXT: u64 = 24;
/// Place of `text` in `runtime.moduledata`, Go 1.26 and 1.27.
const MODULE_TEXT: u64 = 176;

/// What an executable says. Addresses are those that it names itself: see [`Executable::program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Minor release: the 26 of Go 1.26.
    pub minor: u32,
    /// Where in the file `net/http.(*persistConn).roundTrip` starts, if the program has it.
    pub round_trip: Option<u64>,
    /// The same of `net/http.serverHandler.ServeHTTP`.
    pub serve: Option<u64>,
    program: Program,
    movable: bool,
    headers: u64,
}

/// Why nothing can be said about goroutines of a program that Go built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("Go {} built it, whose structures are not known ({} are)", shown(.0), releases())]
    Release(String),
    #[error("its table of functions cannot be read")]
    Functions,
}

impl Executable {
    /// Looks into an executable. `None` if Go did not build it.
    pub fn read(executable: &Path) -> Option<Result<Self, Unknown>> {
        let version = buildinfo::version(executable)?;
        let Some((minor, layout)) = release(&version) else { return Some(Err(Unknown::Release(version))) };
        Some(Self::of(executable, minor, layout).ok_or(Unknown::Functions))
    }

    fn of(executable: &Path, minor: u32, layout: Layout) -> Option<Self> {
        let image = Image::open(executable)?;
        let section = image.section(&[".gopclntab", ".data.rel.ro.gopclntab"])?;
        let (mut table, mut functions) = (image.window(section), image.window(section));
        let header = pclntab::Header::read(&mut table)?;
        let text = match header.text {
            0 => text(&image, section.address)?,
            text => text,
        };
        let end = text.checked_add(u64::from(header.end(&mut table)?))?;
        let names = [ROUND_TRIP, SERVE, NEWPROC];
        let [round_trip, serve, newproc] = header.find(&mut table, &mut functions, names);
        let place = |function: Option<pclntab::Function>| match function {
            Some(function) => image.offset(text.checked_add(u64::from(function.start))?).map(Some),
            None => Some(None),
        };
        let (round_trip, serve) = (place(round_trip)?, place(serve)?);
        let goidgen = newproc.and_then(|function| {
            let start = text.checked_add(u64::from(function.start))?;
            let len = (function.end - function.start).min(MAX_NEWPROC);
            let address = goidgen::address(&image.bytes(start, len as usize)?, start)?;
            image.writable(address).then_some(address)
        });
        let program = Program { goidgen: goidgen.unwrap_or(0), text, text_end: end, layout };
        let (movable, headers) = (image.movable, image.headers);
        Some(Self { minor, round_trip, serve, program, movable, headers })
    }

    /// The addresses in a process: `headers` is where its program headers are, as the kernel told it (`AT_PHDR`).
    pub fn program(&self, headers: u64) -> Program {
        let by = if self.movable { headers.wrapping_sub(self.headers) } else { 0 };
        let Program { goidgen, text, text_end, layout } = self.program;
        let moved = |address: u64| if address == 0 { 0 } else { address.wrapping_add(by) };
        Program { goidgen: moved(goidgen), text: moved(text), text_end: moved(text_end), layout }
    }
}

/// Address of `runtime.text` where the table of functions, which is at the address `table`, does not say it: from Go
/// 1.26 on, and in movable programs, where the loader writes it.
fn text(image: &Image, table: u64) -> Option<u64> {
    let Some(module) = image.section(&[".go.module"]) else {
        return image.pointer(table.checked_add(HEADER_TEXT)?).filter(|text| *text != 0);
    };
    // The first member of the module points to the table: if it does not, the module is not what it was.
    (image.pointer(module.address)? == table).then_some(())?;
    image.pointer(module.address.checked_add(MODULE_TEXT)?)
}

/// The releases whose structures are known, in words.
pub fn releases() -> String {
    let minors = table::LAYOUTS.iter().map(|(minor, _)| *minor);
    match (minors.clone().min(), minors.max()) {
        (Some(first), Some(last)) => format!("Go 1.{first} to 1.{last}"),
        _ => "none".to_owned(),
    }
}

/// Characters of a release's name that are shown: what an executable says may be anything, and a word is enough.
const MAX_SHOWN: usize = 40;

fn shown(version: &str) -> String {
    version.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

/// Minor release and offsets. A release that was changed (`go1.22.1-custom`, `devel`, `X:` with an experiment) may
/// have any structures: it is none that is known.
fn release(version: &str) -> Option<(u32, Layout)> {
    let rest = version.strip_prefix("1.")?;
    let (minor, patch) = rest.split_once('.').unwrap_or((rest, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(minor) && digits(patch)).then_some(())?;
    let minor = minor.parse().ok()?;
    Some((minor, table::layout(minor)?))
}

/// The version of Go, without the `go` before it, if an executable was built with it.
pub(super) fn version(executable: &Path) -> Option<String> {
    buildinfo::version(executable)
}

#[cfg(test)]
mod tests;
