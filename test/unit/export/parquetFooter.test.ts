import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ByteWriter, parquetWrite } from "hyparquet-writer"
import { afterAll } from "vitest"
import { rowsOf } from "../../../src/internal/export/parquetFooter.js"
import { runs } from "../../support/runs.js"

const directory = mkdtempSync(join(tmpdir(), "threadline-footer-"))

afterAll(() => rmSync(directory, { recursive: true, force: true }))

const rowsIn = (bytes: Uint8Array) => {
  const path = join(directory, "a.parquet")
  writeFileSync(path, bytes)
  return rowsOf(path)
}

const written = (count: number): Buffer => {
  const writer = new ByteWriter()
  void parquetWrite({
    writer,
    columnData: [{ name: "a", type: "STRING", data: Array.from({ length: count }, (_, index) => `text ${index}`) }],
    rowGroupSize: 1000,
    kvMetadata: [{ key: "k", value: "v".repeat(300) }]
  })
  return Buffer.from(writer.getBytes())
}

/** Bytes between what a Parquet file begins and ends with. */
const around = (footer: Uint8Array): Buffer => {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(footer.length)
  return Buffer.concat([Buffer.from("PAR1"), footer, length, Buffer.from("PAR1")])
}

describe("the footer of a Parquet file", () => {
  it("says how many rows there are", async () => {
    for (const count of [0, 1, 127, 128, 20_000]) {
      expect(await rowsIn(written(count))).toBe(count)
    }
  })

  it("that is damaged in any way is an error, or a number, in no time", async () => {
    const refusal = /no whole Parquet file/
    for (const bytes of [Buffer.alloc(0), Buffer.from("PAR1PAR1"), Buffer.from("PAR1\xff\xff\xff\x7fPAR1", "latin1")]) {
      await expect(rowsIn(bytes)).rejects.toThrow(refusal)
    }
    // A list of as many items as there can be, lists in lists, and strings longer than the file.
    for (const footer of [
      [0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x7f],
      Array.from({ length: 40 }, () => 0x19),
      [0x18, 0xff, 0x7f]
    ]) {
      await expect(rowsIn(around(Uint8Array.from(footer)))).rejects.toThrow(refusal)
    }
    await FastCheck.assert(
      FastCheck.asyncProperty(FastCheck.uint8Array({ maxLength: 40 }), async (footer) => {
        const outcome = await rowsIn(around(footer)).catch((error: unknown) => (error as Error).message)
        expect(typeof outcome === "number" || refusal.test(outcome)).toBe(true)
      }),
      { numRuns: runs(300) }
    )
  })
})
