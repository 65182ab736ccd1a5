//! The configuration read anew for a reload.

use std::sync::Arc;

use crate::{
    config::{Config, mistake::Mistakes},
    export::aside::Aside,
};

/// Reads the configuration again, as the agent was started.
pub type Reread = Arc<dyn Fn() -> Result<Config, Mistakes> + Send + Sync>;

/// Reads it one time after the other.
pub(super) struct Rereader {
    reread: Reread,
    aside: Aside,
}

impl Rereader {
    pub(super) fn new(reread: &Reread) -> Self {
        Self { reread: Arc::clone(reread), aside: Aside::default() }
    }

    /// The configuration as it is now. `Err` has what stands against it, for people.
    pub(super) async fn read(&mut self) -> Result<Config, Vec<String>> {
        let reread = Arc::clone(&self.reread);
        match self.aside.run(move || reread()).await {
            Ok(Ok(config)) => Ok(config),
            Ok(Err(mistakes)) => Err(mistakes.0.iter().map(ToString::to_string).collect()),
            Err(error) => Err(vec![format!("cannot read the configuration: {error}")]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::mpsc};

    use super::*;
    use crate::config::{self, args::Run};

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_named_as_the_cause() {
        let reread: Reread = Arc::new(|| config::load(Run::default(), &HashMap::<String, String>::new()));
        let mut rereader = Rereader::new(&reread);
        let (go, hangs) = mpsc::channel();
        rereader.aside.hangs = Some(hangs);
        let late = rereader.read().await.unwrap_err();
        assert!(late[0].contains("10s") && late[0].contains("disk"), "{late:?}");
        let again = rereader.read().await.unwrap_err();
        assert!(again[0].contains("still waits"), "{again:?}");
        go.send(()).unwrap();
        rereader.aside.join();
        tokio::time::resume();
        assert!(rereader.read().await.is_ok());
    }

    #[tokio::test]
    async fn mistakes_are_told_one_by_one() {
        let reread: Reread = Arc::new(|| {
            let run = Run { config: Some("/nowhere/at/all.yaml".into()), ..Run::default() };
            config::load(run, &HashMap::<String, String>::new())
        });
        let mistakes = Rereader::new(&reread).read().await.unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].contains("/nowhere/at/all.yaml"), "{mistakes:?}");
    }
}
