//! An unmodified nginx with a directory of its own.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::curl::Dir;
use crate::world::PATIENCE;

pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    dir: Dir,
    _process: Child,
}

impl Nginx {
    /// Serves the files of its directory under /open/.
    pub(crate) async fn start(name: &str) -> Nginx {
        let dir = Dir::new(&format!("nginx-{name}"));
        std::fs::create_dir_all(dir.0.join("html/open")).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path temp_{kind};\n"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr warn;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; sendfile on; {temp}\
             server {{ listen {address}; root html; }} }}\n"
        );
        let file = dir.file("nginx.conf", config);
        let process = Command::new("nginx")
            .args(["-p", &dir.0.to_string_lossy(), "-e", "stderr", "-c", &file])
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed");
        let nginx = Nginx { address, dir, _process: process };
        let up = async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, up).await.expect("nginx listens");
        nginx
    }

    /// Makes /open/`name`.
    pub(crate) fn file(&self, name: &str, content: &[u8]) {
        self.dir.file(&format!("html/open/{name}"), content);
    }
}
