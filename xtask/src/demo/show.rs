//! What the demo says around the traces.

use std::{
    env,
    io::{self, IsTerminal as _},
    path::Path,
};

use super::{driver::REQUESTS, shop::Shop};

/// Words on a terminal, or without colours elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    colour: bool,
}

impl Page {
    pub(super) fn of_terminal() -> Self {
        let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colour: io::stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }

    fn quiet(self, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A command, with what is to be said about it.
    fn typed(self, command: &str, note: &str) {
        let line = format!("{}{}", self.quiet("$ "), self.bold(command));
        if note.is_empty() {
            println!("{line}");
        } else {
            println!("{line}  {}", self.quiet(&format!("# {note}")));
        }
    }

    /// The programs.
    pub(super) fn shop(self, shop: &Shop) {
        println!("\nA small shop of ordinary programs, each asking the next:");
        for program in &shop.programs {
            let place = format!("{:<8} 127.0.0.1:{}", program.language, program.port);
            println!("  {:<11} {}", program.name, self.quiet(&place));
        }
        if !shop.missing.is_empty() {
            let missing = format!("  Not on this machine, so left out: {}.", shop.missing.join(", "));
            println!("{}", self.quiet(&missing));
        }
        println!("None of them traces anything, or hands on what its caller says about a trace.\n");
    }

    /// How the agent is started.
    pub(super) fn agent(self, selectors: &[String]) {
        println!("The agent, beside programs that run already:");
        self.typed(&format!("spandrel run {}", selectors.join(" ")), "");
    }

    /// What the shop is asked.
    pub(super) fn requests(self, port: u16) {
        println!("\nThree requests:");
        for request in REQUESTS {
            self.typed(&request.typed(port), request.note);
        }
        println!();
    }

    /// What was seen, and what to try.
    pub(super) fn end(self, shop: &Shop, spans: u64, binary: &Path) {
        let programs = shop.programs.len();
        println!(
            "Seen: {spans} of {spans} spans of {programs} programs, none of them changed, linked or restarted."
        );
        let command = format!("sudo {} run --port 8080", binary.display());
        println!("Yours: {}  {}", self.bold(&command), self.quiet("# your program's port"));
    }

    /// How to go on, and how to stop.
    pub(super) fn keep(self, port: u16, folder: &Path, group: Option<i32>) {
        let folder = folder.display();
        println!("\nThe shop stays open, with an agent beside it:");
        for request in REQUESTS {
            self.typed(&request.typed(port), "");
        }
        self.typed(&format!("tail -f {folder}/traces"), "what the agent sees");
        let group = group.map(|group| format!("kill -- -{group}; ")).unwrap_or_default();
        self.typed(&format!("{group}rm -rf {folder}"), "stops everything");
    }
}
