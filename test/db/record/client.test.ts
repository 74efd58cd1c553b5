import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Query from "../../../src/Query.js"
import { rawClient } from "../../harness/rawClient.js"
import { TestDatabase } from "../../harness/TestDatabase.js"
import * as Host from "../../support/auditedHost.js"

layer(Host.layer, { excludeTestServices: true })("the address of the database client", (it) => {
  it.scoped("is read as the server saw it: that of a client by TCP, and null if the client came by a Unix socket", () =>
    Effect.gen(function* () {
      yield* Host.reset
      const owner = yield* Host.Owner
      const database = yield* TestDatabase
      const byTcp = yield* rawClient((yield* database.role("app")).url)
      const nearby = yield* database.rawClient("app")
      const seen = yield* Effect.forEach([byTcp, nearby], (client, index) =>
        Effect.promise(async () => {
          await client.query("insert into posts (id, title) values ($1, 'x')", [index])
          const { rows } = await client.query<{ address: string | null }>(
            "select abbrev(inet_client_addr()) as address"
          )
          return rows[0]?.address
        })
      )
      expect(seen[0]).toMatch(/^[0-9a-f.:]+$/)
      const { items } = yield* Effect.provide(Query.transactions(), Query.layer).pipe(
        Effect.provideService(SqlClient.SqlClient, owner)
      )
      expect(items.map(({ transaction }) => transaction.clientAddr).reverse()).toEqual(seen)
    })
  )
})
