import { assert, describe, it } from "@effect/vitest"
import * as Origin from "@poolkit/http/Origin"
import * as Equal from "effect/Equal"
import * as Formatter from "effect/Formatter"
import * as Hash from "effect/Hash"
import * as fc from "fast-check"
import { inspect } from "node:util"

const same = (a: Origin.Origin, b: Origin.Origin) => {
  const equal = Equal.equals(a, b)
  assert.strictEqual(Equal.equals(b, a), equal, "symmetric")
  if (equal) assert.strictEqual(Hash.hash(a), Hash.hash(b), "equal values have equal hashes")
  return equal
}

const make = Origin.make
const url = "https://a.test"
const bytes = (text: string): Buffer => Buffer.from(text)

const errorOf = (f: () => unknown): string => {
  try {
    f()
  } catch (error) {
    assert.instanceOf(error, RangeError)
    return (error as Error).message
  }
  return assert.fail("nothing was thrown")
}

describe("Origin", () => {
  describe("make", () => {
    it("gives one form to all spellings of a URL", () => {
      const spellings: ReadonlyArray<readonly [string, string, string, number]> = [
        ["HTTPS://A.Test", "https://a.test", "a.test", 443],
        ["https://a.test:443/", "https://a.test", "a.test", 443],
        ["https://a.test.", "https://a.test", "a.test", 443],
        ["https://a.test.:8443", "https://a.test:8443", "a.test", 8443],
        ["https://a\u3002test", "https://a.test", "a.test", 443],
        ["https://%61.test", "https://a.test", "a.test", 443],
        ["http://BÜCHER.example:80", "http://xn--bcher-kva.example", "xn--bcher-kva.example", 80],
        ["http://0x7f.1", "http://127.0.0.1", "127.0.0.1", 80],
        ["http://2130706433.", "http://127.0.0.1", "127.0.0.1", 80],
        ["http://127.1:8080", "http://127.0.0.1:8080", "127.0.0.1", 8080],
        ["http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080", "::1", 8080],
        ["http://[::FFFF:127.0.0.1]", "http://[::ffff:7f00:1]", "::ffff:7f00:1", 80],
        ["http:\\\\a.test", "http://a.test", "a.test", 80]
      ]
      for (const [spelling, canonical, host, port] of spellings) {
        const origin = make(spelling)
        assert.strictEqual(String(origin), canonical)
        const { authority, scheme } = origin
        assert.deepInclude(origin, { host, port })
        assert.strictEqual(`${scheme}://${authority}`, canonical)
        assert.isTrue(same(origin, make({ url: canonical })), spelling)
      }
    })

    it("gives addresses, servername and the local address one form too", () => {
      const pairs: ReadonlyArray<readonly [Omit<Origin.OriginOptions, "url">, Omit<Origin.OriginOptions, "url">]> = [
        [{ address: "B.test." }, { address: "b.test:443" }],
        [{ address: "127.1:8443" }, { address: "127.0.0.1:8443" }],
        [{ address: "0:0::1" }, { address: "[::1]:443" }],
        [{ localAddress: "0:0::1" }, { localAddress: "::1" }],
        [{ tls: { servername: "B.Test." } }, { tls: { servername: "b.test" } }],
        [{ tls: {} }, { tls: { ca: undefined } }],
        [{}, { tls: {}, tenant: undefined, address: undefined, socketPath: undefined, localAddress: undefined }]
      ]
      for (const [a, b] of pairs) assert.isTrue(same(make({ url, ...a }), make({ url, ...b })), JSON.stringify(a))
    })

    it("accepts what it gave: the canonical form is stable", () => {
      fc.assert(
        fc.property(fc.webUrl({ withFragments: true, withQueryParameters: true }), (url) => {
          const origin = Origin.fromUrl(url)
          assert.isTrue(same(origin, make(String(origin))))
          assert.isTrue(same(origin, Origin.fromUrl(new URL(url))))
        })
      )
    })

    it("either refuses a host or gives it a form that is safe everywhere", () => {
      const tricky = fc.constantFrom(..."aZ09-_.\0\r\n\t %:/\\@?#[]<>|^。．ａ１０ßéİ\u200d\u00ad\uff0e٫")
      const host = fc.oneof(fc.string({ unit: tricky, maxLength: 12 }), fc.string({ unit: "binary", maxLength: 8 }))
      fc.assert(
        fc.property(host, (host) => {
          for (const options of [`http://${host}`, { url, address: host }, { url, tls: { servername: host } }]) {
            let origin: Origin.Origin
            try {
              origin = make(options)
            } catch (error) {
              assert.instanceOf(error, RangeError)
              assert.notInclude((error as Error).message, "\n")
              continue
            }
            const { address, tls, url } = Origin.reveal(origin)
            const hosts = [new URL(String(url)).hostname, address?.replace(/:\d+$/, ""), tls?.servername]
            for (const host of hosts) {
              if (host === undefined) continue
              assert.match(host, /^(\[?[0-9a-f:]+\]?|[a-z0-9_~!$&'()*+,;="`{}.-]+)$/)
              assert.notMatch(host, /^\.|\.\.|\.$/)
            }
          }
        }),
        { numRuns: 2000 }
      )
    })

    it("takes apart every attribute: whatever differs gives another key", () => {
      const check = () => undefined
      const origins = [
        ...["http://a.test", url, "https://a.test:444", "https://b.test", "https://a.test:80"].map((url) => make(url)),
        ...(
          [
            { address: "a.test:444" },
            { address: "a.test:445" },
            { address: "b.test" },
            { address: "127.0.0.1" },
            { socketPath: "/tmp/a" },
            { socketPath: "b.test" },
            { localAddress: "127.0.0.1" },
            { localAddress: "127.0.0.2" },
            { tenant: "a" },
            { tenant: "b" },
            { tls: { servername: "a.test" } },
            { tls: { servername: "b.test" } },
            { tls: { ca: "a" } },
            { tls: { ca: [] } },
            { tls: { ca: ["a", "b"] } },
            { tls: { ca: ["ab"] } },
            { tls: { ca: ["b", "a"] } },
            { tls: { ca: "a", cert: "b" } },
            { tls: { cert: "a" } },
            { tls: { key: "a" } },
            { tls: { key: [{ pem: "a" }] } },
            { tls: { key: [{ pem: "a", passphrase: "p" }] } },
            { tls: { key: "a", passphrase: "p" } },
            { tls: { pfx: "a" } },
            { tls: { pfx: [{ buf: Buffer.from("a") }] } },
            { tls: { pfx: [{ buf: Buffer.from("a"), passphrase: "p" }] } },
            { tls: { passphrase: "a" } },
            { tls: { rejectUnauthorized: true } },
            { tls: { rejectUnauthorized: false } },
            { tls: { alpn: [] } },
            { tls: { alpn: ["h2"] } },
            { tls: { alpn: ["h2", "http/1.1"] } },
            { tls: { alpn: ["http/1.1", "h2"] } },
            { tls: { alpn: ["h2,http/1.1"] } },
            { tls: { checkServerIdentity: check } },
            { tls: { checkServerIdentity: () => undefined } },
            { tls: { minVersion: "TLSv1.2" } },
            { tls: { minVersion: "TLSv1.3" } },
            { tls: { maxVersion: "TLSv1.2" } },
            { tls: { ciphers: "a" } }
          ] satisfies ReadonlyArray<Omit<Origin.OriginOptions, "url">>
        ).map((options) => make({ url, ...options }))
      ]
      for (const [i, a] of origins.entries()) {
        for (const [j, b] of origins.entries()) assert.strictEqual(same(a, b), i === j, `${i} and ${j}`)
      }
    })

    it("is equal exactly where all attributes are, in any combination", () => {
      // Two values each, picked so that joining them in any order would confuse some.
      const text = fc.constantFrom("a", "b", "a:b", "ab", "a,b")
      const maybe = <A>(arb: fc.Arbitrary<A>) => fc.option(arb, { nil: undefined, freq: 1 })
      const material: fc.Arbitrary<string | Buffer> = fc.oneof(text, text.map(bytes))
      const materials = fc.oneof(material, fc.array(material, { maxLength: 2 }))
      const options = fc.record({
        url: fc.constantFrom("https://a.test", "https://A.test:443", "https://b.test"),
        address: maybe(fc.constantFrom("a.test", "a.test:443", "b.test:1")),
        tenant: maybe(text),
        tls: fc.record({
          ca: maybe(materials),
          cert: maybe(materials),
          passphrase: maybe(text),
          rejectUnauthorized: maybe(fc.boolean()),
          alpn: maybe(fc.array(fc.constantFrom("h2", "http/1.1"), { maxLength: 2 }))
        })
      })
      const model = ({ address, tenant, tls, url }: Origin.OriginOptions) => {
        const content = (value: unknown): unknown =>
          (Array.isArray(value) ? value : value === undefined ? [] : [value]).map((one) =>
            typeof one === "string" ? one : String(one)
          )
        return JSON.stringify([
          url.toString().toLowerCase().replace(":443", ""),
          address === undefined ? null : address.includes(":") ? address : `${address}:443`,
          tenant ?? null,
          [tls?.ca === undefined, content(tls?.ca)],
          [tls?.cert === undefined, content(tls?.cert)],
          tls?.passphrase ?? null,
          tls?.rejectUnauthorized ?? null,
          tls?.alpn ?? null
        ])
      }
      fc.assert(
        fc.property(options, options, (a, b) => {
          assert.strictEqual(same(make(a), make(b)), model(a) === model(b))
          assert.isTrue(same(make(a), make({ ...a, tls: { ...a.tls } })))
        }),
        { numRuns: 5000 }
      )
    })

    it("does not change when the bytes that it was made of do", () => {
      const cert = bytes("certificate")
      const origin = make({ url, tls: { cert, ca: [cert], key: [{ pem: Buffer.from("key") }] } })
      cert.fill(0)
      assert.strictEqual(String(Origin.reveal(origin).tls?.cert), "certificate")
      assert.isTrue(same(origin, make({ url, tls: { cert: "certificate", ca: "certificate", key: [{ pem: "key" }] } })))
    })

    it("drops TLS options where there is no TLS", () => {
      assert.isTrue(same(make("http://a.test"), make({ url: "http://a.test", tls: { ca: "a" } })))
    })

    it("refuses bad input with one line that quotes no value", () => {
      const bad = (options: unknown) => {
        const message = errorOf(() => make(options as Origin.OriginOptions))
        assert.match(message, /^Origin: [^\n]+$/)
        assert.notInclude(message, "hunter2")
        return message
      }
      assert.strictEqual(bad("hunter2"), "Origin: the URL must be an absolute http: or https: URL")
      for (const url of [
        "ftp://hunter2",
        "",
        undefined,
        1,
        "https://",
        "https://a b",
        "https://a\0.test",
        "http://[::1%eth0]"
      ]) {
        bad(url)
        bad({ url })
      }
      for (const url of ["https://..", "https://a..test", "https://.a", "https://a.test..", "http://a.test:0"]) bad(url)
      assert.include(bad("https://user:hunter2@a.test"), "credentials")
      assert.include(bad("https://hunter2@a.test"), "credentials")
      for (const rest of ["/hunter2", "/?hunter2", "/#hunter2"]) assert.include(bad(`${url}${rest}`), "fromUrl")
      for (const address of [
        "",
        "a/hunter2",
        "a@b",
        "a:b",
        "a:0",
        "a:65536",
        "a:1:2",
        "::1%eth0",
        "[::1",
        1,
        "a\0",
        "a..b"
      ]) {
        assert.include(bad({ url, address }), "address")
      }
      for (const localAddress of ["hunter2", "", "1.2.3", 1]) assert.include(bad({ url, localAddress }), "localAddress")
      assert.include(bad({ url, socketPath: "" }), "socketPath")
      assert.include(bad({ url, socketPath: "/a", address: "b" }), "socketPath excludes")
      assert.include(bad({ url, tenant: 1 }), "tenant")
      assert.include(bad({ url, proxy: "http://hunter2" }), "proxy is not an option")
      assert.include(bad({ url, tls: { secureContext: {} } }), "tls.secureContext is not an option")
      assert.include(bad({ url, tls: { toString: 1 } }), "tls.toString is not an option")
      const tls = {
        servername: "hunter2@",
        ca: 1,
        cert: [1],
        key: { pem: 1, passphrase: "hunter2" },
        pfx: [{ buf: "a", passphrase: 1 }],
        passphrase: ["hunter2"],
        rejectUnauthorized: "hunter2",
        checkServerIdentity: "hunter2",
        alpn: "hunter2",
        minVersion: "hunter2",
        maxVersion: 3,
        ciphers: 1
      }
      for (const [name, value] of Object.entries(tls))
        assert.include(bad({ url, tls: { [name]: value } }), `tls.${name}`)
    })
  })

  describe("fromUrl", () => {
    it("takes the origin of a request's URL and remembers it", () => {
      const origin = Origin.fromUrl("https://a.test/path?query#fragment")
      assert.isTrue(same(origin, make(url)))
      assert.strictEqual(Origin.fromUrl("https://A.test:443/other"), origin)
      assert.strictEqual(Origin.fromUrl(new URL("https://a.test/other")), origin)
      assert.include(
        errorOf(() => Origin.fromUrl("https://user:hunter2@a.test/path")),
        "credentials"
      )
    })

    it("remembers a bounded number", () => {
      const first = Origin.fromUrl("https://first.test/")
      for (let i = 0; i < 999; i++) Origin.fromUrl(`https://a${i}.test/`)
      assert.strictEqual(Origin.fromUrl("https://first.test/"), first)
      Origin.fromUrl("https://one-more.test/")
      assert.notStrictEqual(Origin.fromUrl("https://first.test/"), first)
      assert.isTrue(same(Origin.fromUrl("https://first.test/"), first))
    })
  })

  describe("reveal", () => {
    it("gives back what the origin was made of, functions by reference", () => {
      const checkServerIdentity = () => undefined
      const options = {
        url,
        address: "127.0.0.1:1",
        tenant: "t",
        tls: { ca: "a", passphrase: "p", checkServerIdentity }
      }
      assert.deepStrictEqual(Origin.reveal(make(options)), options)
      assert.strictEqual(Origin.reveal(make(options)).tls?.checkServerIdentity, checkServerIdentity)
      assert.isTrue(same(make(Origin.reveal(make(options))), make(options)))
      assert.include(
        errorOf(() => Origin.reveal({} as Origin.Origin)),
        "not an origin"
      )
    })
  })

  describe("output", () => {
    it("shows where the origin leads and none of its secrets, however one looks", () => {
      const secret = "hunter2"
      const origin = make({
        url,
        address: "127.0.0.1:8443",
        tenant: secret,
        tls: {
          servername: `${secret}.test`,
          ca: [secret, bytes(secret)],
          cert: secret,
          key: [{ pem: secret, passphrase: secret }],
          pfx: [{ buf: Buffer.from(secret), passphrase: secret }],
          passphrase: secret,
          alpn: [secret],
          ciphers: secret
        }
      })
      const shown = [
        String(origin),
        JSON.stringify({ origin }),
        Formatter.format({ origin }),
        Formatter.formatJson({ origin }),
        inspect(origin),
        inspect({ deep: [{ origin }] }, { depth: Infinity, showHidden: true }),
        inspect(origin, { customInspect: false, depth: Infinity, showHidden: true, getters: true }),
        JSON.stringify(Object.entries(origin)),
        JSON.stringify(structuredClone({ ...origin }))
      ]
      const encodings = [secret, Buffer.from(secret).toString("base64"), Buffer.from(secret).toString("hex")]
      const numbers = [...bytes(secret)].join(", ")
      for (const output of shown) {
        for (const form of [...encodings, numbers, numbers.replaceAll(" ", "")]) assert.notInclude(output, form)
      }
      for (const output of shown.slice(0, 6)) assert.include(output, "https://a.test via 127.0.0.1:8443")
      assert.strictEqual(String(make({ url, socketPath: "/run/a.sock" })), "https://a.test via /run/a.sock")
    })

    it("cannot be changed", () => {
      assert.throws(() => Object.assign(make(url), { host: "b.test" }), TypeError)
    })
  })
})
