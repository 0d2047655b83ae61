// One catalogue in one language for now. A second one has the shape `Text`; the choice is made here alone.
import { en } from "./en";

export type Text = typeof en;
export const text: Text = en;
