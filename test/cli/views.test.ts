/** views on the command line: their documents and their exit codes. */
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Cli from "../support/cli.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { twoMonths } from "../support/query.js"

Cli.setup()

layer(twoMonths, { excludeTestServices: true, timeout: 300_000 })("saved views of the command line", (it) => {
  it.scoped("are saved, listed, run and deleted", () =>
    Effect.gen(function* () {
      const { url } = yield* TestDatabase.TestDatabase
      const where = { url }
      const save = ["views", "save", "Posts of 7", "--owner", "user:42"]
      expect(yield* Cli.text(["views", "list"], where)).toContain("No view is saved.")
      expect(
        yield* Cli.json([...save, "--table", "posts", "--actor", "user:7", "--order", "oldest"], where)
      ).toMatchObject({
        name: "Posts of 7",
        owner: { type: "user", id: "42" },
        filter: "table=public.posts&actor=user%3A7&order=oldest",
        since: null
      })
      expect(yield* Cli.run(save, where)).toEqual(
        Cli.refusal(1, /user:42 has a view Posts of 7 \(--replace replaces it\)/)
      )
      expect(yield* Cli.json(["views", "list", "--owner", "user:42"], where)).toMatchObject({
        items: [{ name: "Posts of 7" }],
        nextCursor: null,
        hasMore: false
      })
      expect(yield* Cli.text(["views", "list"], where)).toMatch(/Posts of 7.*user:42.*table=public\.posts/)
      const first = yield* Cli.json(["views", "run", "Posts of 7", "--owner", "user:42", "--limit", "1"], where)
      expect(first).toMatchObject({ items: [{ id: "1", rowKey: "1" }], hasMore: true })
      const rest = ["views", "run", "Posts of 7", "--cursor", String(first["nextCursor"])]
      expect(yield* Cli.json(rest, where)).toMatchObject({ items: [{ id: "2" }], hasMore: false })
      expect(yield* Cli.text(["views", "run", "Posts of 7"], where)).toContain("posts")
      // Only one had the name until now.
      yield* Cli.text(["views", "save", "Posts of 7", "--owner", "job:nightly", "--since", "7d"], where)
      expect(yield* Cli.run(["views", "run", "Posts of 7"], where)).toEqual(
        Cli.refusal(1, /several have a view Posts of 7: --owner says whose/)
      )
      expect(yield* Cli.json(["views", "run", "Posts of 7", "--owner", "job:nightly"], where)).toMatchObject({
        items: []
      })
      expect(yield* Cli.json(["views", "delete", "Posts of 7", "--owner", "job:nightly"], where)).toEqual({
        name: "Posts of 7",
        owner: { type: "job", id: "nightly" },
        deleted: true
      })
      expect(yield* Cli.text(["views", "delete", "Posts of 7"], where)).toContain("is deleted")
      expect(yield* Cli.run(["views", "run", "Posts of 7"], where)).toEqual(
        Cli.refusal(1, /view Posts of 7 is not known/)
      )
    })
  )

  it.scoped("that are wrong are refused before the database is asked", () =>
    Effect.gen(function* () {
      const url = "postgres://nobody@127.0.0.1:1/none"
      for (const [args, sentence] of [
        [["save", "n"], /--owner says whose view it is/],
        [["save", "n", "--owner", "anonymous"], /--owner: must be an actor with an id/],
        [["save", "n", "--owner", "user"], /--owner user needs an id/],
        [["save", " n", "--owner", "user:1"], /NAME: .*white space/],
        [["save", "n", "--owner", "user:1", "--since", "soon"], /--since: must be a time/],
        [["save", "n", "--owner", "user:1", "--since", "7d", "--on", "2026-01-01"], /--since is a window/],
        [["save", "n", "--owner", "user:1", "--key", "1"], /--key: needs the table/],
        [["run", "n", "--limit", "0"], /--limit/],
        [["delete", "", "--owner", "user:1"], /NAME: must not be empty/]
      ] as const) {
        expect(yield* Cli.run(["views", ...args], { url }), args.join(" ")).toEqual(Cli.refusal(2, sentence))
      }
      expect((yield* Cli.run(["views", "list"], { url })).code).toBe(3)
    })
  )
})
