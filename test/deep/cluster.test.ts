import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { existsSync } from "node:fs"
import * as Installation from "../harness/Installation.js"
import * as TestCluster from "../harness/TestCluster.js"

describe("TestCluster", () => {
  it.scopedLive("keeps what was committed over a crash, at the same address", () =>
    Effect.gen(function* () {
      const cluster = yield* TestCluster.make({ settings: { work_mem: "5MB" } })
      const ask = (statement: string) =>
        Effect.scoped(
          Effect.flatMap(cluster.rawClient(), (client) =>
            Effect.promise(async () => (await client.query<object>(statement)).rows)
          )
        )
      expect(yield* ask("show work_mem")).toEqual([{ work_mem: "5MB" }])
      yield* ask("create table kept as select 1 as id")
      yield* cluster.stop("immediate")
      expect(Either.isLeft(yield* Effect.either(ask("select 1")))).toBe(true)
      yield* cluster.start
      expect(yield* ask("select id::text from kept")).toEqual([{ id: "1" }])
      expect(yield* cluster.log).toContain("redo")
    })
  )

  it.scopedLive("leaves nothing behind when its scope closes", () =>
    Effect.gen(function* () {
      const { dataDirectory, rawClient } = yield* Effect.scoped(TestCluster.make())
      expect(existsSync(dataDirectory)).toBe(false)
      const after = yield* Effect.either(rawClient())
      expect(Either.isLeft(after)).toBe(true)
    })
  )

  it.scopedLive("says which PostgreSQL it cannot find", () =>
    Effect.gen(function* () {
      const answer = yield* Effect.flip(TestCluster.make({ postgres: 9 }))
      expect(answer.message).toMatch(/^no PostgreSQL 9 to test with \(found: .+\)/)
    })
  )

  // A machine with nothing but Node has no pg_dump: there the test is not defined.
  if (Installation.withTools() !== undefined) {
    it.scopedLive("dumps and restores with the tools of its installation", () =>
      Effect.gen(function* () {
        const from = yield* TestCluster.make({ tools: true })
        const to = yield* TestCluster.make({ tools: true })
        yield* from.run("psql", ["-qX", "-d", from.url], "create table kept as select 42 as id;")
        const dump = yield* from.run("pg_dump", ["-d", from.url])
        yield* to.run("psql", ["-qX", "-v", "ON_ERROR_STOP=1", "-d", to.url], dump)
        expect(yield* to.run("psql", ["-qXAt", "-d", to.url, "-c", "select id from kept"])).toBe("42\n")
      })
    )
  }
})
