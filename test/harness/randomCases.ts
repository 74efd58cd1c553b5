/** Properties that name no seed of their own begin with the one of the run. */
import * as FastCheck from "effect/FastCheck"
import { seed } from "../support/runs.js"

FastCheck.configureGlobal({ ...FastCheck.readConfigureGlobal(), seed })
