import { describe, expect, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { shellWord } from "../../../src/internal/core/shell.js"

describe("A word for a shell", () => {
  const words = [
    "public.posts",
    "--table",
    "public.a$b",
    "~",
    "a=b",
    "=ls",
    "it's",
    `"Odd"."T"`,
    "$(ls)",
    "`ls`",
    "a b",
    "*",
    "!x",
    "",
    "a\\b",
    "#x",
    "{a,b}",
    "naïve"
  ]

  it("is read as it is", () => {
    const script = `printf '%s\\n' ${words.map(shellWord).join(" ")}`
    expect(execFileSync("/bin/sh", ["-c", script], { encoding: "utf8" })).toBe(
      words.map((word) => `${word}\n`).join("")
    )
  })

  it("stands without quotes where it needs none", () => {
    expect(words.filter((word) => shellWord(word) === word)).toEqual(["public.posts", "--table", "a=b"])
  })
})
