//! An HTTP/2 upstream that is no library: it reads the client's frames and answers each as a test says (RFC
//! 9113 section 4, RFC 7541 section 6.2).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::{Bench, bench_of};
use crate::tls::Identity;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// `:status: 200` of HPACK's static table.
pub(crate) const STATUS_200: &[u8] = &[0x88];

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat().into()
}

/// One header field, spelt out.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [integer(text.len()), text.as_bytes().to_vec()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// A length with a prefix of seven bits.
fn integer(value: usize) -> Vec<u8> {
    let Some(mut rest) = value.checked_sub(127) else { return vec![u8::try_from(value).unwrap()] };
    let mut bytes = vec![127];
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// A head of these fields after its status, in as many frames as it takes.
pub(crate) fn head(stream: u32, flags: u8, fields: &[Vec<u8>]) -> Vec<Bytes> {
    let block = [STATUS_200, &fields.concat()].concat();
    let mut pieces = block.chunks(16_384).peekable();
    let (mut frames, mut kind) = (Vec::new(), HEADERS);
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        let end_stream = if kind == HEADERS { flags & END_STREAM } else { 0 };
        frames.push(frame(kind, end | end_stream, stream, piece));
        kind = CONTINUATION;
    }
    frames
}

/// A whole answer.
pub(crate) fn answer(stream: u32, body: &[u8]) -> Vec<Bytes> {
    let mut frames = head(stream, 0, &[]);
    frames.push(frame(DATA, END_STREAM, stream, body));
    frames
}

/// What a client sent.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Gets the number of the connection and a frame; what it answers is written.
type Script = dyn Fn(usize, &Frame) -> Vec<Bytes> + Send + Sync;

/// A server on loopback.
pub(crate) struct Frames {
    address: std::net::SocketAddr,
    seen: Arc<Mutex<Vec<Frame>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Frames {
    /// Serves. Settings and pings are answered; all else is the script's.
    pub(crate) async fn start(
        identity: &Identity,
        script: impl Fn(usize, &Frame) -> Vec<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(identity.config());
        let (seen, connections) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let (noted, counted) = (Arc::clone(&seen), Arc::clone(&connections));
        let script: Arc<Script> = Arc::new(script);
        let task = tokio::spawn(async move {
            let mut running = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
                let script = Arc::clone(&script);
                running.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    // Ends when the broker ends it, whichever way.
                    serve(stream, &noted, |frame| script(number, frame)).await.ok();
                });
            }
        });
        Self { address, seen, connections, task }
    }

    /// A broker that trusts it as `api.example.com`.
    pub(crate) fn bench(&self, identity: &Identity, config: &str) -> Bench {
        let config = format!(
            "extra-roots = [{:?}]\n{config}\n[[stand-in]]\nhost = 'api.example.com'\naddress = 'https://{}'",
            identity.root(),
            self.address,
        );
        bench_of(&config, &["api.example.com"], 0)
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests that came, each a stream of its own.
    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|frame| frame.kind == HEADERS).count()
    }

    /// Everything that came.
    pub(crate) fn seen(&self) -> Vec<Frame> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: TlsStream<TcpStream>,
    seen: &Mutex<Vec<Frame>>,
    script: impl Fn(&Frame) -> Vec<Bytes>,
) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut preface = [0; 24];
    reader.read_exact(&mut preface).await?;
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    write(&mut writer, &frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let frame_read = read(&mut reader).await?;
        if frame_read.flags & ACK == 0 {
            match frame_read.kind {
                SETTINGS => write(&mut writer, &frame(SETTINGS, ACK, 0, &[])).await?,
                PING => write(&mut writer, &frame(PING, ACK, 0, &frame_read.payload)).await?,
                _ => {}
            }
        }
        // Noted first: who sees the answer also sees the request.
        seen.lock().unwrap().push(frame_read.clone());
        for answer in script(&frame_read) {
            write(&mut writer, &answer).await?;
        }
    }
}

async fn write(writer: &mut WriteHalf<TlsStream<TcpStream>>, bytes: &[u8]) -> std::io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

async fn read(reader: &mut ReadHalf<TlsStream<TcpStream>>) -> std::io::Result<Frame> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    let mut payload = vec![0; length as usize];
    reader.read_exact(&mut payload).await?;
    Ok(Frame { kind: head[3], flags: head[4], stream, payload })
}
