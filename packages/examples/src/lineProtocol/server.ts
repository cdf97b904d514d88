/**
 * A server of the line protocol, as a program: `node server.ts <name> <port>`.
 *
 * Each line is a request, each answer a line, in the order of the requests; a
 * client need not wait for one answer before it sends the next request. `HELLO`
 * is answered with the server's name, `ECHO text` with the name and the text.
 */
import * as Net from "node:net"
import * as Readline from "node:readline"

const [name = "server", port = "0"] = process.argv.slice(2)

const server = Net.createServer((socket) => {
  socket.on("error", () => {})
  const lines = Readline.createInterface(socket)
  lines.on("error", () => {})
  lines.on("line", (line) => {
    const [command, text] = line.split(" ")
    // As if there were work to do.
    setTimeout(() => socket.write(command === "ECHO" ? `${name} ${text}\n` : `${name}\n`), 2)
  })
})

server.listen(Number(port), "127.0.0.1", () => console.log((server.address() as Net.AddressInfo).port))

// Does not outlive the program that started it.
process.stdin.resume().on("close", () => process.exit())
