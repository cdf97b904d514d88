/** As far as it is used here: the package has no types of its own. */
declare module "pg-pool" {
  export default class PgPool<Client> {
    constructor(options: {
      readonly max: number
      readonly idleTimeoutMillis: number
      readonly Client: new () => unknown
    })
    connect(): Promise<Client>
    end(): Promise<void>
  }
}
