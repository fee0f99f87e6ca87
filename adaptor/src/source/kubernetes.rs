//! What the path of a container's log says about the container.
//!
//! | path | written by |
//! |---|---|
//! | `…/pods/<namespace>_<pod>_<uid>/<container>/<restarts>.log`, rotated with more behind it | the kubelet |
//! | `…/containers/<pod>_<namespace>_<container>-<id>.log` | the kubelet, a link to the former |
//! | `…/containers/<id>/<id>-json.log`, rotated with more behind it | Docker |
//!
//! The names are Kubernetes' own, so none holds a `_`; the attributes are OpenTelemetry's.

use std::path::Path;

/// Length of the id of a container, in hexadecimal digits.
const ID_DIGITS: usize = 64;

/// Attributes of the container whose log lies at `path`; none if it is no container's.
pub(super) fn attributes(path: &Path) -> Vec<(&'static str, String)> {
    let mut names = path.iter().rev().map(|name| name.to_str().unwrap_or_default());
    let mut name = || names.next().unwrap_or_default();
    let (file, folder, above, top) = (name(), name(), name(), name());
    let found =
        of_link(file, folder).or_else(|| of_pod(file, folder, above, top)).or_else(|| of_docker(file, folder, above));
    let found = found.unwrap_or_default().into_iter().filter(|(_, value)| !value.is_empty());
    found.map(|(key, value)| (key, value.to_owned())).collect()
}

type Found<'a> = Vec<(&'static str, &'a str)>;

fn of_link<'a>(file: &'a str, folder: &str) -> Option<Found<'a>> {
    let (names, id) = file.strip_suffix(".log").filter(|_| folder == "containers")?.rsplit_once('-')?;
    let mut names = names.split('_');
    let (pod, namespace, container) = (names.next()?, names.next()?, names.next()?);
    (is_id(id) && names.next().is_none()).then(|| {
        vec![
            ("k8s.namespace.name", namespace),
            ("k8s.pod.name", pod),
            ("k8s.container.name", container),
            ("container.id", id),
        ]
    })
}

fn of_pod<'a>(file: &'a str, container: &'a str, pod: &'a str, folder: &str) -> Option<Found<'a>> {
    let mut names = pod.split('_');
    let (namespace, pod, uid) = (names.next()?, names.next()?, names.next()?);
    let (restarts, behind) = file.split_once(".log")?;
    let sound = folder == "pods"
        && names.next().is_none()
        && !restarts.is_empty()
        && restarts.bytes().all(|byte| byte.is_ascii_digit())
        && (behind.is_empty() || behind.starts_with('.'));
    sound.then(|| {
        vec![
            ("k8s.namespace.name", namespace),
            ("k8s.pod.name", pod),
            ("k8s.pod.uid", uid),
            ("k8s.container.name", container),
            ("k8s.container.restart_count", restarts),
        ]
    })
}

fn of_docker<'a>(file: &str, id: &'a str, folder: &str) -> Option<Found<'a>> {
    let rest = file.strip_prefix(id)?.strip_prefix("-json.log")?;
    let sound = folder == "containers" && is_id(id) && (rest.is_empty() || rest.starts_with('.'));
    sound.then(|| vec![("container.id", id)])
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_path_says_which_container_wrote_the_log() {
        let pod = [
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "cart-7d4b-x2x"),
            ("k8s.pod.uid", "8f1a-22"),
            ("k8s.container.name", "main"),
            ("k8s.container.restart_count", "3"),
        ];
        let link = [
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "cart-7d4b-x2x"),
            ("k8s.container.name", "side-car"),
            ("container.id", ID),
        ];
        for (path, expected) in [
            ("/var/log/pods/shop_cart-7d4b-x2x_8f1a-22/main/3.log".to_owned(), &pod[..]),
            ("/host/var/log/pods/shop_cart-7d4b-x2x_8f1a-22/main/3.log.20231121-090411".to_owned(), &pod),
            (format!("/var/log/containers/cart-7d4b-x2x_shop_side-car-{ID}.log"), &link),
            (format!("/var/lib/docker/containers/{ID}/{ID}-json.log.1"), &[("container.id", ID)]),
        ] {
            let seen = attributes(Path::new(&path));
            let seen: Vec<_> = seen.iter().map(|(key, value)| (*key, value.as_str())).collect();
            assert_eq!(seen, expected, "{path}");
        }
    }

    #[test]
    fn other_paths_say_nothing() {
        for path in [
            "",
            "/",
            "a.log",
            "/var/log/pods/shop_cart_1/main/x.log",
            "/var/log/pods/shop_cart_1_2/main/0.log",
            "/var/log/pods/shop_cart_1/main/0.logs",
            "/var/log/other/shop_cart_1/main/0.log",
            "/var/log/containers/cart_shop_main-12.log",
            "/var/log/containers/cart_shop_main.log",
            "/var/lib/docker/containers/12/12-json.log",
        ] {
            assert_eq!(attributes(Path::new(path)), [], "{path}");
        }
    }
}
