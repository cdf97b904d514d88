/** Certificates that are made when a test file starts. */
import { generate } from "selfsigned"

export interface Identity {
  readonly cert: string
  readonly key: string
}

const day = 86_400_000

const make = async (options: {
  readonly names: ReadonlyArray<string>
  readonly ca?: Identity
  readonly notBefore?: Date
  readonly notAfter?: Date
  readonly isCa?: boolean
}): Promise<Identity> => {
  const { private: key, cert } = await generate([{ name: "commonName", value: options.names[0]! }], {
    algorithm: "sha256",
    keyType: "ec",
    notBeforeDate: options.notBefore ?? new Date(Date.now() - day),
    notAfterDate: options.notAfter ?? new Date(Date.now() + day),
    ...(options.ca !== undefined && { ca: options.ca }),
    extensions: [
      { name: "basicConstraints", cA: options.isCa === true, critical: true },
      {
        name: "subjectAltName",
        altNames: options.names.map((name) =>
          /^[\d.]+$/.test(name) ? { type: 7 as const, ip: name } : { type: 2 as const, value: name }
        )
      }
    ]
  })
  return { key, cert }
}

const ca = await make({ names: ["PoolKit test CA"], isCa: true })

export const certificates = {
  ca: ca.cert,
  /** For `localhost` and 127.0.0.1. */
  server: await make({ names: ["localhost", "127.0.0.1"], ca }),
  address: await make({ names: ["127.0.0.1"], ca }),
  otherName: await make({ names: ["example.test"], ca }),
  expired: await make({
    names: ["localhost", "127.0.0.1"],
    ca,
    notBefore: new Date(Date.now() - 3 * day),
    notAfter: new Date(Date.now() - day)
  }),
  client: await make({ names: ["client.test"], ca }),
  /** From an authority that nobody knows. */
  unknownCa: await make({ names: ["localhost", "127.0.0.1"] })
}
