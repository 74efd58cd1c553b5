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

it("threadline/pg listens once to a client, however many calls follow each other", async () => {
  const client = Object.assign(new EventEmitter(), {
    query: () => Promise.resolve([{ command: "SELECT" }, { command: "COMMIT" }]),
    release: () => undefined
  })
  const pool = { totalCount: 1, query: client.query, connect: () => Promise.resolve(client) }
  const call = () => pg.audited(pool, { actor: { type: "user", id: 42 } }, () => client.listenerCount("error"))
  for (let calls = 0; calls < 20; calls++) {
    expect(await call()).toBe(1)
  }
  expect(await Promise.all([call(), call()])).toEqual([1, 1])
  // The event of a lost connection may come after the end, and ends no process.
  expect(client.emit("error", new Error("lost"))).toBe(true)
})
