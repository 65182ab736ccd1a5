//! The shop: nginx in front, then Python, Node and Go, each calling the next. No program knows of the agent.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::patiently;
use crate::run::{command, find, run};

/// The running shop; dropping it closes it.
pub(super) struct Shop {
    programs: Vec<Child>,
    port: u16,
}

impl Shop {
    /// Writes the programs into a folder, whose name is in their command lines then, and starts them.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display())).map(|()| path)
        };
        let ports = [free_port()?, free_port()?, free_port()?, free_port()?];
        let [front, basket, prices, stock] = ports.map(|port| port.to_string());

        let source = write("stock.go", include_str!("../../demo/stock.go"))?;
        let program = folder.join("stock");
        run(command("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(source)
            .env("GO111MODULE", "off")
            .env("CGO_ENABLED", "0"))?;
        let mut shop = Self { programs: Vec::new(), port: ports[0] };
        shop.start("stock", command(program).arg(&stock), ports[3])?;

        let prices_js = write("prices.js", include_str!("../../demo/prices.js"))?;
        shop.start("prices", command("node").arg(prices_js).args([&prices, &stock]), ports[2])?;

        let basket_py = write("basket.py", include_str!("../../demo/basket.py"))?;
        shop.start("basket", command("python3").arg(basket_py).args([&basket, &prices]), ports[1])?;

        let settings = include_str!("../../demo/nginx.conf").replace("@FOLDER@", &folder.to_string_lossy());
        let settings = write("nginx.conf", &settings.replace("@PORT@", &front).replace("@NEXT@", &basket))?;
        let nginx = find("nginx").context("nginx is not installed")?;
        shop.start(
            "nginx",
            command(nginx).arg("-e").arg(folder.join("nginx.log")).arg("-c").arg(settings),
            ports[0],
        )?;
        Ok(shop)
    }

    /// The port of the front door.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    fn start(&mut self, name: &str, program: &mut std::process::Command, port: u16) -> Result<()> {
        let child = program.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        self.programs.push(child.with_context(|| format!("cannot start {name}"))?);
        if patiently(|| TcpStream::connect(("127.0.0.1", port)).is_ok()) {
            return Ok(());
        }
        bail!("the shop's {name} does not listen on port {port}; what it said is above")
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for program in self.programs.iter_mut().rev() {
            // nginx ends its workers when it is asked to, not when it is killed.
            let asked = command("kill").args(["-TERM", &program.id().to_string()]).status();
            if !asked.is_ok_and(|status| status.success()) {
                program.kill().ok();
            }
            program.wait().ok();
        }
    }
}

/// A port that nobody uses now.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port on the loopback interface")?;
    Ok(listener.local_addr()?.port())
}
