//! `cargo xtask demo`: a small shop of ordinary programs, the agent beside it, and the traces of three requests.

mod agent;
mod cleaner;
mod driver;
mod shop;
mod show;

use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use self::{agent::Agent, cleaner::Cleaner, driver::REQUESTS, shop::Shop, show::Page};
use crate::{
    build,
    run::{answer, command, root},
    tools::{self, Tool},
};

/// What the shop cannot do without. Go and Java take part if they are there: they are large.
const TOOLS: &[Tool] = &[
    Tool { needs: "nginx", package: "nginx-light", why: "the shop's front door" },
    Tool { needs: "node", package: "nodejs", why: "the shop's pages" },
    Tool { needs: "/usr/bin/python3", package: "python3", why: "the shop's cart" },
    Tool { needs: "curl", package: "curl", why: "the shop's customer" },
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the shop open and an agent beside it, and say how to stop them
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if answer(command("id").arg("-u")).as_deref() != Some("0") {
        bail!("the agent loads programs into the kernel: run this as root");
    }
    tools::ensure(TOOLS)?;
    let pricing = shop::Build::begin();
    let binary = match env::var_os("SPANDREL_BIN") {
        Some(path) => PathBuf::from(path),
        None => build::agent()?,
    };
    let cleaner = Cleaner::start()?;
    let done = visit(&cleaner, &binary, pricing, args.keep);
    if done.is_err() || !args.keep {
        cleaner.clean();
    }
    done
}

fn visit(cleaner: &Cleaner, binary: &Path, pricing: shop::Build, keep: bool) -> Result<()> {
    let page = Page::of_terminal();
    let shop = Shop::open(cleaner, pricing)?;
    page.shop(&shop);
    page.agent(&agent::selectors(&shop));
    let agent = Agent::start(cleaner, binary, &shop)?;
    page.requests(shop.port);
    driver::visit(shop.port)?;
    let ledger = agent.stop(cleaner)?;
    eprint!("{}", agent.warnings());
    let expected: u64 = REQUESTS.iter().map(|request| request.spans(&shop)).sum();
    if (ledger.seen, ledger.shown) != (expected, expected) {
        bail!(
            "the programs answered and made {expected} requests; the agent saw {} and showed {} of them",
            ledger.seen,
            ledger.shown
        );
    }
    let name = binary.strip_prefix(root()).unwrap_or(binary);
    page.end(&shop, expected, name);

    if keep {
        let traces = cleaner.folder().join("traces");
        let file = File::create(&traces).with_context(|| format!("cannot write {}", traces.display()))?;
        Agent::stay(cleaner, binary, &shop, file)?;
        page.keep(shop.port, &cleaner.folder(), cleaner.group());
    }
    Ok(())
}
