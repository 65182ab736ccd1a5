//! First process of a virtual machine: mounts what the kernel offers, runs every command of `/commands`,
//! says how each ended, powers off.
//!
//! A command is its environment, `NAME=VALUE ...`, its program and its arguments, parted by blanks. If one that stands
//! behind a `!` fails, those behind it are not run.
//!
//! What `cargo xtask vm` reads of its output: `vm: run N: COMMAND` and `vm: exit N: CODE` around each command, which
//! it counts from 0, and `init: success` or `init: failure` at the end; anything else means that the machine died.
#![expect(clippy::print_stdout, reason = "the serial console is its only voice")]

use std::{
    ffi::CStr,
    fs, io,
    process::{Command, ExitStatus},
};

use rustix::{
    mount::{MountFlags, mount},
    net::{AddressFamily, SendFlags, SocketType, netlink::SocketAddrNetlink, sendto, socket},
    system::{RebootCommand, reboot},
};

/// File system type, where, and options.
const MOUNTS: &[(&str, &str, Option<&CStr>)] = &[
    ("proc", "/proc", None),
    ("sysfs", "/sys", None),
    ("devtmpfs", "/dev", None),
    ("tmpfs", "/tmp", Some(c"mode=1777")),
    ("tmpfs", "/run", None),
    ("cgroup2", "/sys/fs/cgroup", None),
    ("bpf", "/sys/fs/bpf", None),
    ("tracefs", "/sys/kernel/tracing", None),
    ("securityfs", "/sys/kernel/security", None),
];

fn main() {
    for (kind, folder, options) in MOUNTS {
        let mounted = fs::create_dir_all(folder)
            .and_then(|()| Ok(mount(*kind, *folder, *kind, MountFlags::empty(), *options)?));
        if let Err(error) = mounted {
            println!("vm: {kind} on {folder}: {error}");
        }
    }
    if let Err(error) = loopback_up() {
        println!("vm: the loopback interface stays down: {error}");
    }
    let outcome = commands();
    match &outcome {
        Ok(true) => println!("init: success"),
        Ok(false) => println!("init: failure"),
        Err(error) => println!("vm: {error}\ninit: failure"),
    }
    rustix::fs::sync();
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        println!("vm: cannot power off: {error}");
    }
}

/// Runs the commands, one a line. Whether all of them ended with 0.
fn commands() -> io::Result<bool> {
    let mut good = true;
    for (number, line) in fs::read_to_string("/commands")?.lines().enumerate() {
        let (decides, line) = line.strip_prefix('!').map_or((false, line), |line| (true, line));
        let words: Vec<_> = line.split_whitespace().collect();
        let variables = words.iter().map_while(|word| word.split_once('='));
        let Some((program, args)) = words.get(variables.clone().count()..).and_then(<[_]>::split_first)
        else {
            continue;
        };
        println!("vm: run {number}: {line}");
        let mut command = Command::new(program);
        let status = command.args(args).env("PATH", "/bin").env("HOME", "/").envs(variables).status();
        let code = status.map_or_else(|error| error.to_string(), ended);
        println!("vm: exit {number}: {code}");
        good &= code == "0";
        if decides && !good {
            break;
        }
    }
    Ok(good)
}

fn ended(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| code.to_string())
}

/// Sets the first interface up (rtnetlink(7), `RTM_NEWLINK`): it is `lo` in every network namespace.
fn loopback_up() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST: u16 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    // struct nlmsghdr
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family and type, index, flags, mask of the flags to change
    message.extend([0; 4]);
    message.extend(1_i32.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    // No protocol is protocol 0, NETLINK_ROUTE.
    let route = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    sendto(&route, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(())
}
