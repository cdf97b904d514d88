/** Every mutation, in the order in which they are tried. */
import { borrowing } from "./borrowing.ts"
import { connecting } from "./connecting.ts"
import { ending } from "./ending.ts"
import { http1 } from "./http1.ts"
import { http2 } from "./http2.ts"
import type { Mutation } from "./mutation.ts"
import { requests } from "./requests.ts"
import { services } from "./services.ts"
import { sharing } from "./sharing.ts"
import { stacking } from "./stacking.ts"
import { waiting } from "./waiting.ts"

export const all: ReadonlyArray<Mutation> = [
  ...borrowing,
  ...waiting,
  ...connecting,
  ...sharing,
  ...stacking,
  ...ending,
  ...services,
  ...http1,
  ...http2,
  ...requests
]
