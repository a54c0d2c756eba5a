// Prints what this program sees of its pod, with the standard library alone.
use std::ffi::CStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::raw::{c_char, c_int};

const HOST: &str = "echo.default.svc.cluster.local";

extern "C" {
    fn gethostname(name: *mut c_char, size: usize) -> c_int;
}

fn hostname() -> String {
    let mut name = [0 as c_char; 256];
    unsafe {
        gethostname(name.as_mut_ptr(), name.len());
        CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
    }
}

fn main() -> std::io::Result<()> {
    let mut config = String::new();
    BufReader::new(std::fs::File::open("/app/config.yaml")?).read_line(&mut config)?;
    let address = (HOST, 80).to_socket_addrs()?.find(|address| address.is_ipv4()).expect("no address");
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /bytes?n=16 HTTP/1.0\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("no answer") + 4;
    let hex: String = answer[body..].iter().map(|byte| format!("{byte:02x}")).collect();
    println!("greeting={}", std::env::var("GREETING").unwrap_or_default());
    println!("hostname={}", hostname());
    println!("config={}", config.trim_end_matches('\n'));
    println!("echo={}", address.ip());
    println!("answer={hex}");
    Ok(())
}
