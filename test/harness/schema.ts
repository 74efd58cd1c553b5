import * as Effect from "effect/Effect"
import * as Migrations from "../../src/Migrations.js"
import { clientOf } from "./client.js"

/** Installs Threadline's schema in the database of a superuser's URL. */
export const install = (url: string, options?: Migrations.RunOptions): Promise<void> =>
  Migrations.run(options).pipe(Effect.provide(clientOf(url)), Effect.asVoid, Effect.runPromise)
