/** nginx with a configuration of its own. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { readFileSync, writeFileSync } from "node:fs"
import * as Http from "node:http"
import { join } from "node:path"
import { certificates } from "../certificates.ts"
import type { Dialect, Seen } from "./ledger.ts"
import { accepts, freePort, type ServerProcess, serverProcess, temporaryFolder, until } from "./serverProcess.ts"

export interface NginxOptions {
  /** What it speaks, the latter two over TLS. Default `http`. */
  readonly speaks?: "http" | "https" | "h2" | undefined
  /** More directives of the server, such as limits. */
  readonly server?: string | undefined
  /** Default 2. */
  readonly workers?: number | undefined
}

export interface Nginx {
  readonly port: number
  readonly origin: string
  /** Loads its configuration again: new workers take over, the old ones finish what they do. */
  readonly reload: Effect.Effect<void>
  /** Hangs up on everybody and starts again on the same port. */
  readonly restart: Effect.Effect<void>
  readonly process: ServerProcess
  /** Connections of clients: ever accepted, and open now. */
  readonly connections: Effect.Effect<{ readonly accepted: number; readonly open: number }>
  /** Ends it in good order and tells every request that it answered. */
  readonly finish: Effect.Effect<ReadonlyArray<Seen>>
}

const slowBody = "x".repeat(20_000)

/** Every request is answered with its path. Some GETs have a body that takes about 0.1 seconds. */
export const nginxDialect: Dialect = {
  path: (id, method) => (method === "GET" && id % 16 === 0 ? `/slow/${id}` : `/${id}`),
  check: ({ path }, response, text) => {
    assert.strictEqual(response.status, 200)
    assert.strictEqual(response.headers["x-path"], path)
    assert.strictEqual(text, path.startsWith("/slow/") ? slowBody : path)
  }
}

/** Starts nginx. */
export const nginx = (options: NginxOptions = {}): Effect.Effect<Nginx, never, Scope.Scope> =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const port = yield* freePort
    const workers = options.workers ?? 2
    const status = join(folder, "status.sock")
    writeFileSync(join(folder, "nginx.conf"), configuration({ ...options, workers, folder, port }))
    writeFileSync(join(folder, "cert.pem"), certificates.server.cert)
    writeFileSync(join(folder, "key.pem"), certificates.server.key)
    writeFileSync(join(folder, "slow.txt"), slowBody)
    let probes = 0
    const server = yield* serverProcess({
      name: "nginx",
      args: ["-p", ".", "-c", "nginx.conf", "-e", "error.log"],
      folder,
      // On the status socket: a probe of the port would look like a client.
      ready: Effect.tap(accepts({ path: status }), (ready) => Effect.sync(() => ready && probes++))
    })
    let reloads = 0
    const logged = (text: string) => readFileSync(join(folder, "error.log"), "utf8").split(text).length - 1
    const reload = Effect.gen(function* () {
      reloads = logged("reconfiguring") + 1
      const shutDown = logged("gracefully shutting down") + workers
      yield* server.signal("SIGHUP")
      const done = () => logged("reconfiguring") >= reloads && logged("gracefully shutting down") >= shutDown
      yield* until(Effect.sync(done), () => "nginx does not reload")
    })
    return {
      port,
      origin: `${options.speaks === undefined || options.speaks === "http" ? "http" : "https"}://127.0.0.1:${port}`,
      reload,
      restart: Effect.andThen(server.stop(), server.start),
      process: server,
      connections: Effect.map(getStatus(status), ({ accepted, open }) => ({
        accepted: accepted - ++probes,
        open: open - 1
      })),
      finish: Effect.map(server.stop("SIGQUIT"), () => parse(readFileSync(join(folder, "access.log"), "utf8")))
    }
  })

const configuration = (options: NginxOptions & { workers: number; folder: string; port: number }): string => `
daemon off;
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes ${options.workers};
pid nginx.pid;
error_log error.log notice;
events { worker_connections 512; }
http {
  log_format seen '$request_method $request_uri $connection $server_protocol';
  access_log access.log seen;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  default_type text/plain;
  server {
    listen unix:${options.folder}/status.sock;
    access_log off;
    location / { stub_status; }
  }
  server {
    listen 127.0.0.1:${options.port} ${{ http: "", https: "ssl", h2: "ssl http2" }[options.speaks ?? "http"]};
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    add_header x-path $request_uri;
    ${options.server ?? ""}
    location / { return 200 $request_uri; }
    location /slow/ {
      root .;
      rewrite ^ /slow.txt break;
      limit_rate 200k;
      sendfile on;
      sendfile_max_chunk 4k;
    }
  }
}
`

const parse = (log: string): ReadonlyArray<Seen> =>
  log
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [method = "", path = "", connection = "", protocol = ""] = line.split(" ")
      return { method, path, connection, protocol }
    })

/** Asks for the counters on a connection of its own, which they include. */
const getStatus = (socketPath: string): Effect.Effect<{ readonly accepted: number; readonly open: number }> =>
  Effect.callback((resume) => {
    Http.get({ socketPath, agent: false }, (response) => {
      let text = ""
      response.setEncoding("utf8").on("data", (chunk) => (text += chunk))
      response.on("end", () => {
        const [open, accepted] = text.match(/\d+/g)!.map(Number)
        resume(Effect.succeed({ accepted: accepted!, open: open! }))
      })
    }).on("error", (error) => resume(Effect.die(error)))
  })
