//! The end of a worker.

use ringmail_gateway::{Drained, Limits};
use tokio::net::TcpStream;

use crate::backend::{Backend, read_head, say};
use crate::pki::WWW;
use crate::world::{World, get, status};

#[tokio::test]
async fn requests_in_progress_end_and_new_connections_are_refused() {
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = std::sync::Mutex::new(Some(wait));
    let backend = Backend::raw(move |mut tcp, _| {
        let wait = wait.lock().unwrap().take();
        async move {
            read_head(&mut tcp).await;
            wait.unwrap().await.unwrap();
            say(&mut tcp, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await;
    let mut world = World::new(&backend);
    let address = world.address;
    let mut idle = world.raw().await;
    let idle_h2 = world.h2().await;
    let mut busy = world.raw().await;
    busy.say(&format!("GET / HTTP/1.1\r\nHost: {WWW}\r\n\r\n")).await;
    world
        .until("all are there", |w| {
            w.counters.connections_authenticated.get() == 3 && w.chain.held() == 1
        })
        .await;
    world.stop();
    assert_eq!(idle.rest().await, "", "idle connections close in good order");
    idle_h2.connection.await.unwrap().expect("GOAWAY");
    drop(idle);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    go.send(()).unwrap();
    let answer = busy.rest().await;
    assert_eq!(status(&answer), 200);
    assert!(answer.ends_with("ok") && answer.contains("connection: close"), "{answer}");
    drop(busy);
    let chain = world.chain.clone();
    assert_eq!(world.stopped().await, Drained { cut: 0 });
    assert_eq!(chain.held(), 0);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let backend = Backend::raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        read_head(&mut tcp).await;
    })
    .await;
    let mut world = World::with(&backend, Limits { drain_ms: 50, ..Limits::default() });
    let mut busy = world.raw().await;
    busy.say(&get("/")).await;
    world.until("it is at the service", |world| world.chain.held() == 1).await;
    world.stop();
    let (chain, counters) = (world.chain.clone(), world.counters.clone());
    assert_eq!(world.stopped().await, Drained { cut: 1 });
    assert_eq!(counters.connections_cut.get(), 1);
    let held = async {
        while chain.held() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::world::PATIENCE, held).await.expect("the guards are free");
}
