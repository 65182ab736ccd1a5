//! Servers and their load generators, and one slice of load with what everyone spent on it.

use std::{fs, time::Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{
    FILES,
    agent::Agent,
    lab::Lab,
    process::{Launch, Process, Usage, free_port},
};
use crate::run::find;

/// Connections of the load generators: enough that a server always finds the next request waiting.
pub(super) const ACTIVE: u32 = 32;
/// Requests of the first slice of Redis, by whose time the others are sized.
const REDIS_FIRST: u64 = 20_000;

/// A server with something that loads it.
pub(super) trait Load {
    fn server(&self) -> &Process;
    /// Runs the load and returns its requests and the seconds they took.
    fn run(&self, lab: &Lab) -> Result<(u64, f64)>;

    /// One slice. The agent's time includes what is left to do when the load ends.
    fn slice(&self, lab: &Lab, agent: Option<&Agent>) -> Result<Slice> {
        let before = (self.server().usage()?, agent.map(Agent::usage).transpose()?);
        let began = Instant::now();
        let (requests, seconds) = self.run(lab)?;
        let wall = began.elapsed().as_secs_f64();
        let server = self.server().usage()?.since(before.0);
        let agent = match (agent, before.1) {
            (Some(agent), Some(before)) => Some(agent.usage()?.since(before)),
            _ => None,
        };
        if requests == 0 {
            bail!("not one request was answered");
        }
        Ok(Slice { requests, seconds, wall, server, agent })
    }
}

/// What a slice of load took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) requests: u64,
    seconds: f64,
    wall: f64,
    server: Usage,
    agent: Option<Usage>,
}

impl Slice {
    pub(super) fn throughput(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Nanoseconds of the server's processor time a request; hooks that run in it included.
    pub(super) fn server_cpu(&self) -> f64 {
        self.server.cpu as f64 / self.requests as f64
    }

    /// The agent's.
    pub(super) fn agent_cpu(&self) -> f64 {
        self.agent.map_or(0.0, |agent| agent.cpu as f64 / self.requests as f64)
    }

    /// Share of the time in which the server ran.
    pub(super) fn busy(&self) -> f64 {
        self.server.cpu as f64 / 1e9 / self.wall
    }

    /// Share of the time in which the server could have run, but someone else had its CPU.
    pub(super) fn waited(&self) -> f64 {
        self.server.waited as f64 / 1e9 / self.wall
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "per_second": self.throughput(),
            "server_ns_per_request": self.server_cpu(),
            "agent_ns_per_request": self.agent.map(|_| self.agent_cpu()),
            "server_busy": self.busy(),
            "server_waited": self.waited(),
        })
    }
}

/// nginx with one worker that answers from memory, and wrk.
pub(super) struct Nginx {
    process: Process,
    pub(super) port: u16,
    /// wrk's connections.
    pub(super) active: u32,
}

impl Nginx {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let port = free_port()?;
        let folder = lab.folder().to_string_lossy();
        let conf = lab.folder().join("nginx.conf");
        // One process, so that ending it ends all of it.
        let text = format!(
            "daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;\n\
             worker_rlimit_nofile {FILES};\n\
             events {{ worker_connections {FILES}; }}\n\
             http {{\n  access_log off; keepalive_timeout 600s; keepalive_requests 1000000000;\n  \
             client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n  \
             fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n  \
             server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 \"ok\\n\"; }} }}\n}}\n"
        );
        fs::write(&conf, text).with_context(|| format!("cannot write {}", conf.display()))?;
        let nginx = find("nginx").context("nginx is not installed")?;
        let launch = Launch::new("nginx", nginx).args(["-p".as_ref(), lab.folder().as_os_str()]);
        let launch = launch.args(["-c".as_ref(), conf.as_os_str()]).on(lab.cores.server).files(FILES);
        let mut process = launch.start(lab.folder())?;
        process.listens(port)?;
        Ok(Self { process, port, active: ACTIVE })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// wrk as a process that can be selected by `--port`-less selectors: its command line.
    pub(super) fn wrk(&self, lab: &Lab, seconds: u64) -> Launch {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let connections = format!("-c{}", self.active);
        let args = ["-t1".to_owned(), connections, format!("-d{seconds}s"), url];
        Launch::new("wrk", "wrk").args(args).on(lab.cores.load)
    }
}

impl Load for Nginx {
    fn server(&self) -> &Process {
        &self.process
    }

    fn run(&self, lab: &Lab) -> Result<(u64, f64)> {
        let text = self.wrk(lab, lab.seconds).output()?;
        let (requests, seconds) = wrk_result(&text).with_context(|| format!("wrk said: {text}"))?;
        if text.contains("Non-2xx") || text.contains("Socket errors") {
            bail!("not every request succeeded: {text}");
        }
        Ok((requests, seconds))
    }
}

/// From the lines `  123 requests in 1.00s, 1.2MB read` and `Requests/sec:  122.90`.
fn wrk_result(text: &str) -> Option<(u64, f64)> {
    let requests: u64 = text.lines().find_map(|line| {
        let (count, rest) = line.trim().split_once(' ')?;
        rest.starts_with("requests in ").then(|| count.parse().ok())?
    })?;
    let rate =
        text.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse::<f64>().ok())?;
    (rate > 0.0).then(|| (requests, requests as f64 / rate))
}

/// Redis and its own benchmark.
pub(super) struct Redis {
    process: Process,
    port: u16,
    requests: u64,
}

impl Redis {
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let port = free_port()?;
        let port_text = port.to_string();
        let args = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let launch = Launch::new("redis", "redis-server")
            .args(args)
            .args(["--dir".as_ref(), lab.folder().as_os_str()]);
        let mut process = launch.on(lab.cores.server).start(lab.folder())?;
        process.listens(port)?;
        let mut redis = Self { process, port, requests: REDIS_FIRST };
        let (requests, seconds) = redis.run(lab)?;
        redis.requests = (requests as f64 / seconds * lab.seconds as f64).max(1000.0) as u64;
        Ok(redis)
    }
}

impl Load for Redis {
    fn server(&self) -> &Process {
        &self.process
    }

    fn run(&self, lab: &Lab) -> Result<(u64, f64)> {
        let (port, requests, clients) =
            (self.port.to_string(), self.requests.to_string(), ACTIVE.to_string());
        let args = ["-h", "127.0.0.1", "-p", &port, "-c", &clients, "-n", &requests, "-t", "get", "--csv"];
        let text =
            Launch::new("redis-benchmark", "redis-benchmark").args(args).on(lab.cores.load).output()?;
        let rate = redis_rate(&text).with_context(|| format!("redis-benchmark said: {text}"))?;
        Ok((self.requests, self.requests as f64 / rate))
    }
}

/// From the line `"GET","123456.78",...`.
fn redis_rate(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("\"GET\","))?;
    let rate: f64 = line.split(',').next()?.trim_matches('"').parse().ok()?;
    (rate > 0.0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_read() {
        let text = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 32 connections\n  \
                    Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   1.00ms\n  \
                    2000 requests in 1.10s, 0.3MB read\nRequests/sec:   1000.00\nTransfer/sec:      0.2MB\n";
        assert_eq!(wrk_result(text), Some((2000, 2.0)));
        assert_eq!(wrk_result("unable to connect"), None);
    }

    #[test]
    fn redis_benchmark_is_read() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\"\n\"GET\",\"50000.50\",\"0.2\"\n";
        assert_eq!(redis_rate(text), Some(50_000.5));
        assert_eq!(redis_rate("Could not connect"), None);
    }
}
