import { describe, expect, it } from "@effect/vitest"
import { CopyOut } from "../../../src/internal/export/copyOut.js"

const pieceSize = 131_072

/** A connection that says what was done to it. */
const connection = () => {
  const said: Array<string> = []
  return {
    said,
    query: (text: string) => void said.push(text),
    stream: { pause: () => said.push("pause"), resume: () => said.push("resume") }
  }
}

const line = (length: number): string => `${"x".repeat(length - 1)}\n`

const given = (copy: CopyOut, text: string) => copy.handleCopyData({ chunk: Buffer.from(text) })

const read = async (copy: CopyOut): Promise<ReadonlyArray<Buffer>> => {
  const pieces: Array<Buffer> = []
  for await (const piece of copy as AsyncIterable<Buffer>) {
    pieces.push(piece)
  }
  return pieces
}

describe("CopyOut", () => {
  it("writes line ends and counts records, wherever a piece ends, and passes pieces of one size", async () => {
    for (const ends of [true, false]) {
      for (const short of [-3, -2, -1, 0, 1, 2, 3]) {
        const lengths = [1, 10, pieceSize - 12 + short, 5, 3 * pieceSize + short, 1, pieceSize, 2]
        const copy = new CopyOut("copy", ends)
        copy.submit(connection())
        lengths.forEach((length) => given(copy, line(length)))
        copy.handleCommandComplete({ text: `COPY ${lengths.length}` })
        const pieces = await read(copy)
        const expected = lengths.map((length) => line(length).replace("\n", ends ? "\r\n" : "\n")).join("")
        expect(Buffer.concat(pieces).toString()).toBe(expected)
        expect(pieces.every((piece) => piece.length <= pieceSize)).toBe(true)
        expect([copy.records, copy.rowCount]).toEqual([lengths.length, lengths.length])
      }
    }
  })

  it("stops the connection while nobody reads, and lets it go on afterwards", async () => {
    const wire = connection()
    const copy = new CopyOut("copy", true)
    copy.submit(wire)
    for (let count = 0; count < 4; count++) {
      given(copy, line(pieceSize - 1))
    }
    expect(wire.said).toEqual(["copy", "pause"])
    const reading = read(copy)
    copy.handleCommandComplete({ text: "COPY 4" })
    expect((await reading).reduce((sum, piece) => sum + piece.length, 0)).toBe(4 * pieceSize)
    expect(wire.said).toEqual(["copy", "pause", "resume"])
  })

  it("fails with what the server said, tells the driver that the query has ended, and drops what still comes", async () => {
    const wire = connection()
    const copy = new CopyOut("copy", true)
    let calls = 0
    copy.callback = () => calls++
    copy.submit(wire)
    copy.on("error", () => undefined)
    for (let count = 0; count < 4; count++) {
      given(copy, line(pieceSize))
    }
    copy.handleError(new Error("canceling statement"))
    given(copy, line(pieceSize))
    expect(copy.records).toBe(4)
    await expect(read(copy)).rejects.toThrow("canceling statement")
    expect([calls, wire.said]).toEqual([1, ["copy", "pause", "resume"]])
  })
})
