//! Another configuration for a running pipeline. A destination that goes on under its name keeps its queue, its account
//! and what it has on disk; what waits is sent in the new way.

use std::pin::{Pin, pin};

use super::{
    aside::Aside,
    config::{Caps, Config, Console, Destination},
    console,
    deliver::Way,
    line::Line,
    pipeline::{Error, Pipeline, Printer, Sender, Watched},
    route::Route,
};

/// Destinations that are gone whose accounts are kept: who gives a new name at each reload does not fill the memory.
const MAX_FORMER: usize = 64;

/// What a destination comes to.
#[derive(Debug)]
enum Step {
    Stays(Destination),
    Changes(Destination, Way),
    Comes(Line),
}

/// A change that is prepared.
#[derive(Debug, Default)]
pub struct Change {
    steps: Vec<Step>,
    caps: Caps,
    console: Shown,
}

/// What the console comes to.
#[derive(Debug, Default)]
enum Shown {
    #[default]
    Stays,
    Goes,
    Comes(Printer),
}

impl Pipeline {
    /// Prepares a change. Spans take the new ways as soon as the sender is in use; the old ways stay until
    /// [`Self::commit`]. On an error, nothing is changed; it breaks off with one once the agent `ends`. Queues on disk and
    /// dead letters stay where they are. A disk that hangs is waited for on a thread of its own.
    pub async fn prepare(
        &mut self,
        config: &Config,
        ends: impl Future<Output = ()>,
    ) -> Result<(Sender, Change), Error> {
        let mut ends = pin!(ends);
        let (mut routes, mut change) = (Vec::new(), Change { caps: config.caps, ..Change::default() });
        for one in &config.destinations {
            if let Err(error) = self.step(one, &mut routes, &mut change.steps, ends.as_mut()).await {
                self.undo(change);
                return Err(error);
            }
        }
        let printer = self.console.as_ref().map_or(Console::Off, |printer| printer.kind);
        if printer == config.console {
            routes.extend(self.console.as_ref().map(|printer| printer.route.clone()));
        } else if config.console == Console::Off {
            change.console = Shown::Goes;
        } else {
            let before = self.known(console::NAME);
            match Printer::start(config.console, &self.common, before.as_ref()) {
                Ok(printer) => {
                    routes.push(printer.route.clone());
                    change.console = Shown::Comes(printer);
                }
                Err(error) => {
                    self.undo(change);
                    return Err(error);
                }
            }
        }
        Ok((Sender::new(routes, &self.common.stats), change))
    }

    async fn step(
        &mut self,
        one: &Destination,
        routes: &mut Vec<Route>,
        steps: &mut Vec<Step>,
        mut ends: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Error> {
        let config = one.clone();
        let way = move || Ok(Way::new(&config)?);
        if let Some(line) = self.lines.iter().find(|line| line.goes_on_as(one)) {
            let step = if line.is(one) {
                Step::Stays(one.clone())
            } else {
                Step::Changes(one.clone(), aside(&mut self.aside, one, ends, way).await?)
            };
            routes.push(line.route_as(one));
            steps.push(step);
            return Ok(());
        }
        let way = aside(&mut self.aside, one, ends.as_mut(), way).await?;
        let line = match self.ending.iter().position(|ending| ending.goes_on_as(one)) {
            None => None,
            Some(at) => self.ending.swap_remove(at).recall().await,
        };
        let line = match line {
            None => {
                let before = self.known(&one.name);
                let (stores, config) = (self.common.stores.clone(), one.clone());
                let dead = before.as_ref().and_then(|before| before.dead_letters.clone());
                let open = move || stores.open(&config, dead);
                let opened = aside(&mut self.aside, one, ends, open).await?;
                Line::start(one, way, opened, &self.common, before.as_ref())?
            }
            Some(mut line) => {
                if let Err(error) = line.reopen(one.clone(), way) {
                    self.ending.push(line.end());
                    return Err(error);
                }
                line
            }
        };
        routes.push(line.route.clone());
        steps.push(Step::Comes(line));
        Ok(())
    }

    fn undo(&mut self, change: Change) {
        for step in change.steps {
            if let Step::Comes(line) = step {
                self.retire(line);
            }
        }
    }

    /// What is known of a destination by its name.
    fn known(&self, name: &str) -> Option<Watched> {
        self.watch().into_iter().find(|watched| &*watched.name == name)
    }

    /// Puts a change into force, once nobody uses the old sender any more. Destinations that are gone send what they
    /// hold for as long as one of their batches may take.
    pub fn commit(&mut self, change: Change) {
        self.common.budget.set_cap(change.caps.queue_bytes);
        let mut old = std::mem::take(&mut self.lines);
        let mut take = |config: &Destination| {
            let at = old.iter().position(|line| line.goes_on_as(config))?;
            Some(old.swap_remove(at))
        };
        for step in change.steps {
            let line = match step {
                Step::Stays(config) => take(&config),
                Step::Changes(config, way) => take(&config).map(|mut line| {
                    line.change(config, way);
                    line
                }),
                Step::Comes(line) => Some(line),
            };
            self.lines.extend(line);
        }
        for line in old {
            self.retire(line);
        }
        let old = match change.console {
            Shown::Stays => None,
            Shown::Goes => self.console.take(),
            Shown::Comes(printer) => self.console.replace(printer),
        };
        if let Some(old) = old {
            self.remember(old.route.watched());
            old.end();
        }
        self.ending.retain(|ending| !ending.is_over());
    }

    fn retire(&mut self, line: Line) {
        self.remember(line.route.watched());
        self.ending.push(line.end());
    }

    fn remember(&mut self, watched: Watched) {
        self.former.retain(|former| former.name != watched.name);
        if self.former.len() >= MAX_FORMER {
            self.former.remove(0);
        }
        self.former.push(watched);
    }
}

/// What some work for a destination that waits for disks comes to, unless the agent ends before.
async fn aside<T: Send + 'static>(
    thread: &mut Aside,
    one: &Destination,
    ends: Pin<&mut impl Future<Output = ()>>,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = ends => Err(Error::Ends),
        done = thread.run(work) => {
            done.map_err(|why| Error::Hangs { name: one.name.clone(), why: why.to_string() })?
        }
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
