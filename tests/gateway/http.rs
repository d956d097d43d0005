//! The HTTP listener of a running gateway.

use isthmus_testkit::ports::Port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::house::{ECHO, House, JULIET};

async fn get(port: u16, path: &str) -> String {
    for _ in 0..200 {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("the request is written");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("the answer is read");
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("nothing listens on {port}");
}

#[tokio::test]
async fn says_that_it_is_ready_and_gives_its_figures() {
    let taken = Port::take().expect("a free port");
    let port = taken.number();
    let mut house = House::listening(&taken.address().to_string()).await;
    house.ask(JULIET, ECHO, "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    let ready = get(port, "/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(ready.contains("echo: attached"), "{ready}");
    let figures = get(port, "/metrics").await;
    assert!(figures.contains("isthmus_attached{bridge=\"echo\"} 1"), "{figures}");
    assert!(get(port, "/hooks/nobody/").await.starts_with("HTTP/1.1 404"));
    house.finish().await.expect("an orderly stop");
}

#[tokio::test]
async fn an_address_that_is_taken_does_not_stop_messages() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("its number").to_string();
    let mut house = House::listening(&address).await;
    let answer = house.ask(JULIET, ECHO, "get", "<ping xmlns='urn:xmpp:ping'/>").await;
    assert_eq!(answer.attr("type"), Some("result"));
    house.finish().await.expect("an orderly stop");
}
