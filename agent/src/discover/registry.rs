//! The processes that are traced, and the resource of each. All reading of `/proc` starts here.
//!
//! Process ids are reused: a resource is kept together with the start time of the process that it was made
//! for, an exec makes a new one, and what is known about a process outlives it for a while, because spans
//! of its last requests may still be on their way.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use spandrel_common::{
    event::{Exec, Fork, Header, Listen, SELECT_YES},
    limits::{EXEC_AREA, PROCESSES},
};

use super::{
    facts::Facts,
    files::ProcessFiles,
    go,
    host::Host,
    listening::Listening,
    proc::Look,
    resource::{Describer, Resource},
    runtime::Language,
    select::{Ignored, Selected, Selectors, Verdict},
};
use crate::{config::settings::ResourceConfig, span::redact, stats::Stats};

/// Traced processes that are remembered: as many as the kernel side remembers.
const MAX_TRACED: usize = PROCESSES as usize;
/// Ended processes among them. 4096 in a minute is a busy build server.
const MAX_ENDED: usize = 4096;
/// How long an ended process is remembered. Spans of its last requests follow within seconds: the
/// connections of a process end with it.
const ENDED_NS: u64 = 60_000_000_000;
/// How long a resource is used without another look whether its process is still the same one. Only
/// matters when exit and exec events were lost.
const RECHECK_NS: u64 = 10_000_000_000;
/// Parents that are asked for the facts of a forked process that is gone.
const MAX_PARENTS: usize = 8;

/// What was decided about a running process.
#[derive(Clone, Debug)]
pub struct Decision {
    pub pid: u32,
    /// File name of the executable, for the log.
    pub name: String,
    pub verdict: Verdict,
}

/// A traced process.
#[derive(Debug)]
struct Traced {
    selected: Selected,
    /// It descends from the command.
    command: bool,
    parent: u32,
    /// From its exec event, or that of the process that it was forked from.
    facts: Option<Arc<Facts>>,
    start_ticks: Option<u64>,
    resource: Option<Arc<Resource>>,
    checked_ns: u64,
    ended_ns: Option<u64>,
}

impl Traced {
    fn new(selected: Selected, parent: u32) -> Self {
        Self {
            selected,
            command: false,
            parent,
            facts: None,
            start_ticks: None,
            resource: None,
            checked_ns: 0,
            ended_ns: None,
        }
    }

    /// A process that runs, with what is known of it: it may be gone when a span asks.
    fn living(selected: Selected, look: &Look) -> Self {
        let facts = Some(Arc::new(look.facts()));
        Self { facts, start_ticks: Some(look.start_ticks), ..Self::new(selected, look.parent) }
    }
}

/// All traced processes. Not shared: the thread that reads events owns it.
#[derive(Debug)]
pub struct Registry {
    selectors: Selectors,
    describer: Describer,
    agent: u32,
    traced: HashMap<u32, Traced>,
    /// Ended processes, the longest ended first.
    ended: VecDeque<(u32, u64)>,
    /// Processes that are traced, or run another program, since [`Registry::fresh`] was asked.
    fresh: Vec<u32>,
}

impl Registry {
    /// An empty registry. `resource` is the agent's own. What resources may not show is redacted by `redaction` and
    /// counted in `stats`.
    pub fn new(
        selectors: Selectors,
        resource: &ResourceConfig,
        redaction: redact::Policy,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            selectors,
            describer: Describer::new(Host::read(), resource, redaction, stats),
            agent: std::process::id(),
            traced: HashMap::new(),
            ended: VecDeque::new(),
            fresh: Vec::new(),
        }
    }

    /// The process that will execute the command: it and all its descendants are traced.
    pub fn trace_command(&mut self, pid: u32) {
        let command = Traced { command: true, ..Traced::new(Selected::Command, self.agent) };
        self.insert(pid, command);
    }

    /// Takes other selectors for what is decided from now on; gives those before. Follow it by a [`Self::scan`].
    pub fn reselect(&mut self, selectors: Selectors) -> Selectors {
        std::mem::replace(&mut self.selectors, selectors)
    }

    /// Redacts resources by other choices: those of living processes are made again.
    pub fn redact(&mut self, redaction: &redact::Policy) {
        if self.describer.redact(redaction) {
            for traced in self.traced.values_mut().filter(|traced| traced.ended_ns.is_none()) {
                traced.resource = None;
            }
        }
    }

    /// A process is no longer traced.
    pub fn forget(&mut self, pid: u32) {
        self.traced.remove(&pid);
    }

    /// Looks at all running processes and decides about each.
    pub fn scan(&mut self) -> Vec<Decision> {
        let selectors = std::mem::take(&mut self.selectors);
        let mut listening = Listening::new(&selectors.ports);
        let mut decisions = Vec::new();
        let (mut images, mut programs) = (HashMap::new(), HashMap::new());
        for look in Look::all() {
            let facts = look.outline();
            let pid = look.pid();
            let verdict = if pid == self.agent {
                Verdict::No(Ignored::Agent)
            } else if look.kernel_thread {
                Verdict::No(Ignored::Kernel)
            } else if let Some(known) = self.traced.get(&pid).filter(|known| known.command) {
                Verdict::Yes(known.selected)
            } else {
                match selectors.judge(&facts) {
                    Verdict::No(Ignored::NoMatch) if listening.has(&look.process) => {
                        Verdict::Yes(Selected::Port)
                    }
                    verdict => verdict,
                }
            };
            images.insert(pid, (look.parent, look.image, look.start_ticks));
            programs.insert(pid, (look.parent, facts.exe.clone()));
            decisions.push(Decision { pid, name: facts.executable_name().to_owned(), verdict });
        }
        drop(listening);
        self.selectors = selectors;
        follow_workers(&mut decisions, &programs);
        follow_forks(&mut decisions, &images);
        for decision in &decisions {
            let (Verdict::Yes(selected), Some((parent, _, start))) =
                (decision.verdict, images.get(&decision.pid))
            else {
                continue;
            };
            if !self.traced.contains_key(&decision.pid) {
                let traced = Traced { start_ticks: Some(*start), ..Traced::new(selected, *parent) };
                self.insert(decision.pid, traced);
            }
        }
        decisions
    }

    /// The processes that are traced, or run another program, since this was last asked.
    pub fn fresh(&mut self) -> std::vec::Drain<'_, u32> {
        self.fresh.drain(..)
    }

    /// A process executed a program: it is another one from now on.
    pub fn on_exec(&mut self, exec: &Exec, payload: &[u8]) -> Verdict {
        let pid = exec.header.tgid;
        let before = self.traced.remove(&pid);
        let inherited = before.is_some_and(|traced| traced.command)
            || self.traced.get(&exec.parent).is_some_and(|parent| parent.command)
            || (self.selectors.command && exec.state == SELECT_YES);
        let mut facts = Facts::from_exec(pid, &exec.path, payload, exec.args as usize);
        let look = Look::at(pid);
        if let Some(look) = &look {
            facts.start_ticks = Some(look.start_ticks);
            let exe = look.exe();
            facts.exe = if exe.is_empty() { facts.exe } else { exe };
            facts.cgroups = look.cgroups();
            if payload.len() >= EXEC_AREA {
                // The event could not carry all of it.
                let (Facts { args, variables, .. }, command) = (look.facts(), look.outline().command);
                facts.args = if args.is_empty() { facts.args } else { args };
                facts.command = if command.is_empty() { facts.command } else { command };
                facts.variables = if variables.is_empty() { facts.variables } else { variables };
            }
        }
        let verdict = if pid == self.agent {
            Verdict::No(Ignored::Agent)
        } else if inherited {
            Verdict::Yes(Selected::Command)
        } else {
            match self.selectors.judge(&facts) {
                Verdict::No(Ignored::NoMatch)
                    if self.inherits_socket(look.as_ref()) || self.works_for(exec.parent, &facts.exe) =>
                {
                    Verdict::Yes(Selected::Port)
                }
                verdict => verdict,
            }
        };
        facts.command = String::new();
        if let Verdict::Yes(selected) = verdict {
            if let Some(look) = &look {
                (facts.cwd, facts.uid) = (look.cwd(), look.uid());
            }
            let traced = Traced {
                command: inherited,
                start_ticks: facts.start_ticks,
                facts: Some(Arc::new(facts)),
                ..Traced::new(selected, exec.parent)
            };
            self.insert(pid, traced);
        }
        verdict
    }

    /// A traced process forked: the child runs the same program and is traced too.
    pub fn on_fork(&mut self, fork: &Fork) -> Verdict {
        let parent = fork.header.tgid;
        self.facts_for_children(parent);
        let Some(known) = self.traced.get(&parent).filter(|_| parent != self.agent) else {
            // The event about the parent was lost, or the parent is the agent.
            return self.judge_now(fork.child);
        };
        let selected = if known.command { Selected::Command } else { Selected::Fork };
        let child =
            Traced { command: known.command, facts: known.facts.clone(), ..Traced::new(selected, parent) };
        self.insert(fork.child, child);
        Verdict::Yes(selected)
    }

    /// A child may be gone when a span asks who it was: then it was what its parent is.
    fn facts_for_children(&mut self, parent: u32) {
        if let Some(known) = self.traced.get_mut(&parent).filter(|known| known.facts.is_none()) {
            known.facts = Look::at(parent).map(|look| Arc::new(look.facts()));
        }
    }

    /// A process ended. It is remembered for a while.
    pub fn on_exit(&mut self, header: &Header) {
        let now = header.time_ns;
        if let Some(traced) = self.traced.get_mut(&header.tgid)
            && traced.ended_ns.is_none()
        {
            traced.ended_ns = Some(now);
            self.ended.push_back((header.tgid, now));
        }
        while let Some((pid, ended)) = self.ended.front().copied() {
            if self.ended.len() <= MAX_ENDED && now.saturating_sub(ended) < ENDED_NS {
                break;
            }
            self.ended.pop_front();
            // The id may belong to another process by now.
            if self.traced.get(&pid).is_some_and(|traced| traced.ended_ns == Some(ended)) {
                self.traced.remove(&pid);
            }
        }
    }

    /// A process began to listen.
    pub fn on_listen(&mut self, listen: &Listen) -> Verdict {
        let pid = listen.header.tgid;
        match self.verdict(pid) {
            None if self.selectors.ports.contains(&listen.port) && pid != self.agent => {
                let look = Look::at(pid);
                let traced = look.map_or_else(
                    || Traced::new(Selected::Port, 0),
                    |look| Traced::living(Selected::Port, &look),
                );
                self.insert(pid, traced);
                Verdict::Yes(Selected::Port)
            }
            None => self.judge_now(pid),
            Some(verdict) => verdict,
        }
    }

    /// Those who serve a port together with a process that has begun to listen on it, and are not traced yet: who holds the
    /// socket, too (the kernel tells of the first one that listens only), and its workers.
    pub fn partners(&mut self, listen: &Listen) -> Vec<u32> {
        if !self.selectors.ports.contains(&listen.port) {
            return Vec::new();
        }
        let selectors = std::mem::take(&mut self.selectors);
        let mut listening = Listening::new(&selectors.ports);
        let mut partners = Vec::new();
        for look in Look::all() {
            let pid = look.pid();
            if look.kernel_thread || pid == self.agent || self.verdict(pid).is_some() {
                continue;
            }
            if listening.has(&look.process)
                || (look.parent == listen.header.tgid && self.works_for(look.parent, &look.exe()))
            {
                self.insert(pid, Traced::living(Selected::Port, &look));
                partners.push(pid);
            }
        }
        drop(listening);
        self.selectors = selectors;
        partners
    }

    /// Whether a process that runs the executable `exe` is a worker of its parent: one that listens on a port that was asked
    /// for, and runs the same. It may hand connections over (Node.js's cluster).
    fn works_for(&self, parent: u32, exe: &str) -> bool {
        self.traced.get(&parent).is_some_and(|parent| {
            let same = parent.facts.as_ref().is_some_and(|facts| facts.exe == exe);
            parent.selected == Selected::Port && parent.ended_ns.is_none() && same && !exe.is_empty()
        })
    }

    /// The verdict about a process that is traced; `None` if it is not.
    pub fn verdict(&self, pid: u32) -> Option<Verdict> {
        self.traced
            .get(&pid)
            .filter(|traced| traced.ended_ns.is_none())
            .map(|traced| Verdict::Yes(traced.selected))
    }

    /// How many processes are traced or remembered.
    pub fn len(&self) -> usize {
        self.traced.len()
    }

    /// Whether no process is traced.
    pub fn is_empty(&self) -> bool {
        self.traced.is_empty()
    }

    /// The resource of a process, made when it is first asked for. `now_ns` is `CLOCK_MONOTONIC`.
    pub fn resource(&mut self, pid: u32, now_ns: u64) -> Arc<Resource> {
        if let Some(traced) = self.traced.get_mut(&pid)
            && let Some(resource) = &traced.resource
        {
            if traced.ended_ns.is_some() || now_ns.saturating_sub(traced.checked_ns) < RECHECK_NS {
                return Arc::clone(resource);
            }
            traced.checked_ns = now_ns;
            let now = Look::at(pid).map(|look| look.start_ticks);
            if now.is_none() || traced.start_ticks.is_none() || now == traced.start_ticks {
                return Arc::clone(resource);
            }
            // Another process has the id, and nothing said so.
            let parent = traced.parent;
            *traced = Traced::new(traced.selected, parent);
        }
        let facts = self.facts(pid);
        let look = Look::at(pid);
        let files = ProcessFiles::new(look.as_ref().map_or(pid, Look::thread));
        let look = look.filter(|_| Language::of(&facts).is_none());
        let go = look.map(|look| go::version(&look.path("exe")));
        let resource = Arc::new(self.describer.describe(&facts, &files, go.flatten()));
        if !self.traced.contains_key(&pid) {
            self.insert(pid, Traced::new(Selected::Everything, 0));
        }
        if let Some(traced) = self.traced.get_mut(&pid) {
            traced.resource = Some(Arc::clone(&resource));
            traced.start_ticks = traced.start_ticks.or(facts.start_ticks);
            traced.checked_ns = now_ns;
            // Forked children may still need them; a process that is gone has none.
            traced.facts.get_or_insert_with(|| Arc::new(facts));
        }
        resource
    }

    /// What is known about a process: how it was started by its exec event, the rest from `/proc`; if it
    /// is gone, what is known about the process that it was forked from.
    fn facts(&self, pid: u32) -> Facts {
        let known = self.traced.get(&pid).and_then(|traced| traced.facts.as_deref());
        if let Some(known) = known.filter(|known| known.pid == pid) {
            return known.clone();
        }
        // One that has ended and that nobody has waited for has neither an executable nor arguments any more.
        let living = Look::at(pid).map(|look| look.facts());
        let living = living.filter(|facts| !facts.exe.is_empty() || !facts.args.is_empty());
        match (living, known) {
            (Some(living), Some(known)) => {
                Facts { args: known.args.clone(), variables: known.variables.clone(), ..living }
            }
            (Some(living), None) => living,
            (None, Some(known)) => Facts { start_ticks: None, pid, ..known.clone() },
            (None, None) => Facts { start_ticks: None, pid, ..self.ancestor(pid).unwrap_or_default() },
        }
    }

    fn ancestor(&self, pid: u32) -> Option<Facts> {
        let mut traced = self.traced.get(&pid)?;
        for _ in 0..MAX_PARENTS {
            if traced.selected != Selected::Fork {
                return None;
            }
            let parent = traced.parent;
            traced = self.traced.get(&parent)?;
            let found = traced.facts.as_deref().cloned();
            if let Some(facts) = found.or_else(|| Look::at(parent).map(|look| look.facts())) {
                return Some(facts);
            }
        }
        None
    }

    /// The verdict about a process of which no event told, by what `/proc` says now.
    pub fn judge(&mut self, pid: u32) -> Verdict {
        self.verdict(pid).unwrap_or_else(|| self.judge_now(pid))
    }

    /// Decides by what `/proc` says now.
    fn judge_now(&mut self, pid: u32) -> Verdict {
        if pid == self.agent {
            return Verdict::No(Ignored::Agent);
        }
        if let Some(verdict) = self.verdict(pid) {
            return verdict;
        }
        let Some(look) = Look::at(pid) else { return Verdict::No(Ignored::NoMatch) };
        if look.parent == self.agent
            && look.image != 0
            && Look::at(self.agent).is_some_and(|a| a.image == look.image)
        {
            return Verdict::No(Ignored::Agent);
        }
        let verdict = match self.selectors.judge(&look.outline()) {
            Verdict::No(Ignored::NoMatch) if self.inherits_socket(Some(&look)) => {
                Verdict::Yes(Selected::Port)
            }
            verdict => verdict,
        };
        if let Verdict::Yes(selected) = verdict {
            self.insert(pid, Traced::living(selected, &look));
        }
        verdict
    }

    /// Whether a process was given a socket that already listens (socket activation).
    fn inherits_socket(&self, look: Option<&Look>) -> bool {
        look.is_some_and(|look| Listening::new(&self.selectors.ports).has(&look.process))
    }

    fn insert(&mut self, pid: u32, traced: Traced) {
        if self.traced.len() >= MAX_TRACED && !self.traced.contains_key(&pid) {
            // An ended one goes first, then anyone: it can be looked up again when a span needs it.
            let ended =
                self.ended.pop_front().map(|(pid, _)| pid).filter(|pid| self.traced.contains_key(pid));
            if let Some(victim) = ended.or_else(|| self.traced.keys().next().copied()) {
                self.traced.remove(&victim);
            }
        }
        if traced.ended_ns.is_none() {
            self.fresh.push(pid);
        }
        self.traced.insert(pid, traced);
    }
}

/// Marks the workers of processes that listen on a port that was asked for: see [`Registry::partners`]. `programs` are the
/// parents and executables of all.
fn follow_workers(decisions: &mut [Decision], programs: &HashMap<u32, (u32, String)>) {
    let listen = |decision: &&Decision| decision.verdict == Verdict::Yes(Selected::Port);
    let listeners: HashSet<u32> = decisions.iter().filter(listen).map(|decision| decision.pid).collect();
    for decision in decisions.iter_mut().filter(|one| one.verdict == Verdict::No(Ignored::NoMatch)) {
        let Some((parent, exe)) = programs.get(&decision.pid) else { continue };
        let same = programs.get(parent).is_some_and(|(_, program)| program == exe && !exe.is_empty());
        if same && listeners.contains(parent) {
            decision.verdict = Verdict::Yes(Selected::Port);
        }
    }
}

/// Marks processes that were forked by traced ones and still run the same program image.
fn follow_forks(decisions: &mut [Decision], images: &HashMap<u32, (u32, u64, u64)>) {
    let mut traced: HashMap<u32, bool> =
        decisions.iter().map(|decision| (decision.pid, decision.verdict.traced())).collect();
    loop {
        let mut changed = false;
        for decision in
            decisions.iter_mut().filter(|decision| decision.verdict == Verdict::No(Ignored::NoMatch))
        {
            let Some((parent, image, _)) = images.get(&decision.pid) else { continue };
            let same = images.get(parent).is_some_and(|(_, theirs, _)| *image != 0 && theirs == image);
            if same && traced.get(parent).copied().unwrap_or(false) {
                decision.verdict = Verdict::Yes(Selected::Fork);
                traced.insert(decision.pid, true);
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
