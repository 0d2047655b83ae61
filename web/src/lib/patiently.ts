const PAUSES = [300, 1000, 3000];

/** Load a part of the pages; a network that has just changed is no reason to give up at once. */
export async function patiently<T>(load: () => Promise<T>): Promise<T> {
  for (const pause of PAUSES) {
    try {
      return await load();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
  return load();
}
