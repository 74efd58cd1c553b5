import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { within } from "../../../src/internal/query/within.js"

class Reader extends Context.Tag("test/Reader")<Reader, string>() {}

const services = Context.make(Reader, "restricted")

it.effect("within gives its services to a stream that is the result", () =>
  Effect.gen(function* () {
    const stream = yield* within(Effect.succeed(Stream.fromEffect(Reader)), services)
    const read = Stream.runCollect(stream as Stream.Stream<string>)
    expect(Chunk.toReadonlyArray(yield* read)).toEqual(["restricted"])
  })
)

it.effect("within gives back every other result as it is", () =>
  Effect.gen(function* () {
    const response = HttpServerResponse.stream(Stream.make(new Uint8Array([1])))
    const results = [
      response,
      Option.some(1),
      Option.none(),
      Either.right(1),
      Exit.succeed(1),
      Effect.succeed(1),
      [1],
      null
    ]
    for (const result of results) {
      expect(yield* within(Effect.succeed(result), services)).toBe(result)
    }
  })
)
