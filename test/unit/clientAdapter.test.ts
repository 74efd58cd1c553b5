import { expect, it } from "@effect/vitest"
import { EventEmitter } from "node:events"
import * as drizzle from "../../src/drizzle.js"
import * as kysely from "../../src/kysely.js"
import * as pg from "../../src/pg.js"
import * as postgres from "../../src/postgres.js"
import * as prisma from "../../src/prisma.js"
import * as typeorm from "../../src/typeorm.js"
import { InvalidRequest } from "../../src/ThreadlineError.js"

const entryPoints = { drizzle, kysely, pg, postgres, prisma, typeorm }

for (const [name, { audited }] of Object.entries(entryPoints)) {
  it(`threadline/${name} refuses what is no client of its own, in words, before anything runs`, async () => {
    const call = (db: unknown): Promise<unknown> => {
      const body = () => Promise.reject(new Error("it ran"))
      const answer: unknown = Reflect.apply(audited, undefined, [db, { actor: { type: "user", id: 42 } }, body])
      return Promise.resolve(answer)
    }
    // A reserved connection of postgres.js, and what another client gives.
    const foreign = name === "pg" ? { query: {} } : { query: () => undefined, unsafe: () => undefined }
    for (const wrong of [undefined, null, "postgres://localhost", {}, foreign]) {
      const error: unknown = await call(wrong).then(
        () => "it succeeded",
        (failure: unknown) => failure
      )
      expect(error).toBeInstanceOf(InvalidRequest)
      expect(error).toMatchObject({ field: "db" })
    }
  })
}

it("threadline/pg listens for the errors of a client once, however many calls it has", async () => {
  const client = Object.assign(new EventEmitter(), {
    getTransactionStatus: () => "I",
    query: () => Promise.resolve([{ rows: [] }, { command: "COMMIT", rows: [] }])
  })
  const listening: Array<number> = []
  for (let call = 0; call < 20; call++) {
    await pg.audited(client, { actor: { type: "user", id: 42 } }, () => {
      listening.push(client.listenerCount("error"))
    })
  }
  expect(new Set(listening)).toEqual(new Set([1]))
})
