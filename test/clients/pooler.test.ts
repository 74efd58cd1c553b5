/** Every client through PgBouncer in transaction mode, at the same time. */
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Pooler from "../harness/pooler.js"
import { TestDatabase } from "../harness/TestDatabase.js"
import * as Host from "../support/auditedHost.js"
import { clients } from "./plainClients.js"

layer(Host.layer, { excludeTestServices: true })("through PgBouncer in transaction mode", (it) => {
  it.scoped("no context reaches the transaction of another client", () =>
    Effect.gen(function* () {
      const role = yield* (yield* TestDatabase).role("app")
      // Two connections for eight clients with several each.
      const url = yield* Pooler.make(role.url, 2)
      const opened = Object.entries(clients)
      yield* Effect.forEach(
        opened,
        ([name, open], place) =>
          Effect.promise(async () => {
            // This PgBouncer knows no prepared statements, which postgres.js uses unless it is told.
            const client = await open(name.includes("postgres.js") ? `${url}?prepare=false` : url)
            const write = async (number: number): Promise<void> => {
              const id = 10_000 + place * 100 + number
              if (number % 2 === 0) {
                await client.audited({ actor: { type: "user", id }, action: "post.written" }, async (writer) => {
                  await writer.insert(id)
                  await writer.audited({ actor: { type: "job", id } }, (inner) => inner.insert(id + 50))
                })
              } else if (name !== "a client of pg") {
                // A transaction of the host that says nothing of who writes.
                await client.own(async (writer) => void (await writer.insert(id)))
              }
            }
            await Promise.all([0, 1, 2, 3, 4, 5].map(write))
            await client.close()
          }),
        { concurrency: "unbounded" }
      )
      const written = (yield* Host.changes).map(({ actor, row }) => [Number(row), actor] as const)
      expect(written.length).toBe(opened.length * 9 - 3)
      const wrong = written.filter(([row, actor]) => {
        const part = row % 100
        return actor !== (part >= 50 ? `job:${row - 50}` : part % 2 === 0 ? `user:${row}` : null)
      })
      expect(wrong).toEqual([])
    })
  )
})
