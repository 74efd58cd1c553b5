import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { readdirSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { directory } from "../../../src/internal/export/store/directory.js"
import { scratch } from "../../support/scratch.js"

const facts = { contentType: "text/csv", contentEncoding: undefined }

describe("a directory of files", () => {
  it.scoped("is swept of drafts of dead workers when a file is removed, and of nothing else", () =>
    Effect.gen(function* () {
      const path = yield* scratch()
      const twoDaysAgo = new Date(Date.now() - 48 * 3600 * 1000)
      const make = (name: string, at?: Date) => {
        writeFileSync(join(path, name), "half")
        if (at !== undefined) {
          utimesSync(join(path, name), at, at)
        }
      }
      make(".export-1-a.csv.job.partial", twoDaysAgo)
      make(".export-2-b.csv.job.partial")
      // An export of a person into the same directory has a mark of its own.
      make(".mine.csv.0123456789ab.partial", twoDaysAgo)
      make("mine.job.partial", twoDaysAgo)
      make("export-3-c.csv", twoDaysAgo)
      const store = directory(path)
      yield* store.write("export-4-d.csv", Stream.make(Buffer.from("whole")), facts)
      yield* store.remove("export-4-d.csv")
      expect(readdirSync(path).sort()).toEqual([
        ".export-2-b.csv.job.partial",
        ".mine.csv.0123456789ab.partial",
        "export-3-c.csv",
        "mine.job.partial"
      ])
    })
  )

  it.effect("that is not there is no failure of a removal", () =>
    Effect.gen(function* () {
      yield* directory(join(tmpdir(), "threadline-no-such-directory")).remove("export-1-a.csv")
    })
  )
})
