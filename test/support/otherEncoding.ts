import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { install } from "../harness/schema.js"
import * as TestDatabase from "../harness/TestDatabase.js"

const installed = Layer.effectDiscard(
  Effect.flatMap(TestDatabase.TestDatabase, ({ ownerRole, url }) => Effect.promise(() => install(url, { ownerRole })))
)

/** A database of another encoding with Threadline's schema. The texts of one in SQL_ASCII may hold any bytes. */
export const layerIn = (encoding: NonNullable<TestDatabase.Options["encoding"]>) =>
  Layer.provideMerge(installed, TestDatabase.layerWith({ schema: false, encoding }))
