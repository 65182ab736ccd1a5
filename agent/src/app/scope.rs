//! Which processes the kernel side looks at when the agent starts.

use spandrel_common::event::{SCOPE_ALL, SCOPE_SELECTED, SCOPE_TREE, SELECT_NO, SELECT_YES};

use crate::{
    discover::{
        recognise::{self, Recognised},
        registry::Registry,
        select::{Ignored, Selectors, Verdict},
    },
    kernel::{Kernel, MapFailure},
};

/// What holds for a process about which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// It is traced.
    All,
    /// It is not, until a selector matches.
    Selected,
    /// It is not, unless it descends from the command.
    Tree,
}

impl Scope {
    pub(super) fn of(selectors: &Selectors) -> Self {
        if selectors.is_empty() {
            Self::All
        } else if (Selectors { command: false, ..selectors.clone() }).is_empty() {
            Self::Tree
        } else {
            Self::Selected
        }
    }

    /// For the kernel side.
    pub(super) const fn constant(self) -> u32 {
        match self {
            Self::All => SCOPE_ALL,
            Self::Selected => SCOPE_SELECTED,
            Self::Tree => SCOPE_TREE,
        }
    }
}

/// Tells the kernel side about ports, the command, and the processes that run already.
pub(super) fn apply(
    kernel: &mut Kernel,
    registry: &mut Registry,
    selectors: &Selectors,
    scope: Scope,
    command: Option<u32>,
) -> Result<(), MapFailure> {
    kernel.recognise_names(&recognise::NAMES)?;
    for port in &selectors.ports {
        kernel.watch_port(*port)?;
    }
    if let Some(pid) = command {
        registry.trace_command(pid);
        kernel.select(pid, SELECT_YES)?;
    }
    if scope == Scope::Tree {
        return Ok(());
    }
    let (mut traced, recognised) = (0_u32, Recognised::default());
    for decision in registry.scan() {
        match decision.verdict {
            Verdict::Yes(_) => {
                traced += 1;
                if let Some(runtime) = recognised.at_exec(decision.pid, &decision.name) {
                    kernel.recognise(decision.pid, runtime)?;
                }
                if scope == Scope::Selected {
                    kernel.select(decision.pid, SELECT_YES)?;
                }
            }
            Verdict::No(Ignored::Telemetry(what)) => {
                log::info!("not traced: {} (pid {}), {what}", decision.name, decision.pid);
                kernel.select(decision.pid, SELECT_NO)?;
            }
            Verdict::No(_) => {}
        }
    }
    log::info!("running processes that are traced: {traced}");
    Ok(())
}

/// Other selectors of the same scope, for a running agent.
pub(super) fn reselect(
    kernel: &mut Kernel,
    registry: &mut Registry,
    selectors: Selectors,
    scope: Scope,
) -> Result<(), MapFailure> {
    if scope == Scope::Tree {
        return Ok(());
    }
    let ports = selectors.ports.clone();
    let before = registry.reselect(selectors);
    for port in before.ports.difference(&ports) {
        kernel.forget_port(*port)?;
    }
    for port in ports.difference(&before.ports) {
        kernel.watch_port(*port)?;
    }
    let mut traced = 0_u32;
    for decision in registry.scan() {
        match decision.verdict {
            Verdict::Yes(_) => {
                traced += 1;
                kernel.select(decision.pid, SELECT_YES)?;
            }
            Verdict::No(_) => {
                registry.forget(decision.pid);
                kernel.forget(decision.pid)?;
            }
        }
    }
    log::info!("running processes that are traced: {traced}");
    Ok(())
}
