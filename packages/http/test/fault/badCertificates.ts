/** Certificates that a client must not accept, and one that it must. */
import { generate } from "selfsigned"

interface Identity {
  readonly cert: string
  readonly key: string
}

const day = 86_400_000
const names = ["localhost", "127.0.0.1"]

const issue = async (
  names: ReadonlyArray<string>,
  options: { readonly ca?: Identity; readonly isCa?: boolean; readonly from?: number; readonly days?: number } = {}
): Promise<Identity> => {
  const from = Date.now() + (options.from ?? -1) * day
  const made = await generate([{ name: "commonName", value: names[0]! }], {
    algorithm: "sha256",
    keyType: "ec",
    notBeforeDate: new Date(from),
    notAfterDate: new Date(from + (options.days ?? 2) * day),
    ...(options.ca !== undefined && { ca: options.ca }),
    extensions: [
      { name: "basicConstraints", cA: options.isCa === true, critical: true },
      {
        name: "subjectAltName",
        altNames: names.map((name) =>
          /^[\d.]+$/.test(name) ? { type: 7 as const, ip: name } : { type: 2 as const, value: name }
        )
      }
    ]
  })
  return { cert: made.cert, key: made.private }
}

const ca = await issue(["Fault CA"], { isCa: true })
const stranger = await issue(["Unknown CA"], { isCa: true })

export const trusted = ca.cert
export const good = await issue(names, { ca })
/** For a client. */
export const client = await issue(["client.test"], { ca })

/** With the code by which node calls what is wrong. */
export const bad: Readonly<Record<string, { readonly identity: Identity; readonly code: string }>> = {
  "an expired one": { identity: await issue(names, { ca, from: -3, days: 1 }), code: "CERT_HAS_EXPIRED" },
  "one for another name": { identity: await issue(["example.test"], { ca }), code: "ERR_TLS_CERT_ALTNAME_INVALID" },
  "one of an unknown authority": {
    identity: await issue(names, { ca: stranger }),
    code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
  },
  "a self-signed one": { identity: await issue(names), code: "DEPTH_ZERO_SELF_SIGNED_CERT" },
  "one that is not valid yet": { identity: await issue(names, { ca, from: 1 }), code: "CERT_NOT_YET_VALID" }
}
