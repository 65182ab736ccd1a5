//! A container's id, where the path of its control group shows it.

/// The id in the last part of a control group's path that looks like a container: 64 hexadecimal digits,
/// alone (`/docker/<id>`, Kubernetes with cgroupfs) or as systemd writes it (`docker-<id>.scope`,
/// `cri-containerd-<id>.scope`, `crio-<id>.scope`, `libpod-<id>.scope`), or ECS's 32 digits, a dash and
/// a number.
pub fn container_id(cgroups: &[String]) -> Option<&str> {
    cgroups.iter().find_map(|path| path.rsplit('/').find_map(part))
}

fn part(part: &str) -> Option<&str> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    // `crio-conmon-<id>.scope` holds the monitor of a container, not the container.
    if name.contains("conmon") {
        return None;
    }
    let hex = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    let last = name.rsplit(['-', ':']).next().unwrap_or(name);
    if hex(last, 64) {
        return Some(last);
    }
    let (task, number) = name.split_once('-')?;
    let ecs = hex(task, 32) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    ecs.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_where_runtimes_put_them() {
        let id = "3f4e5a6b".repeat(8);
        let ecs = format!("{}-1234567890", "0123456789abcdef".repeat(2));
        for (path, expected) in [
            (format!("/docker/{id}"), Some(id.as_str())),
            (format!("/system.slice/docker-{id}.scope"), Some(&id)),
            (format!("/kubepods.slice/kubepods-pod12_34.slice/cri-containerd-{id}.scope"), Some(&id)),
            (format!("/kubepods/besteffort/pod1234-5678/{id}"), Some(&id)),
            (format!("/kubepods/burstable/pod1/crio-{id}.scope/container"), Some(&id)),
            (format!("/machine.slice/libpod-{id}.scope"), Some(&id)),
            (format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{id}"), Some(&id)),
            (format!("/ecs/0123/{ecs}"), Some(&ecs)),
            (format!("/crio-conmon-{id}.scope"), None),
            ("/system.slice/nginx.service".to_owned(), None),
            ("/user.slice/user-1000.slice/session-3.scope".to_owned(), None),
            ("/".to_owned(), None),
        ] {
            assert_eq!(container_id(std::slice::from_ref(&path)), expected, "{path}");
        }
    }
}
