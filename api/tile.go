package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/sealpost/sealpost"
)

// tileMax bounds one file of the log, bytes: a full entry bundle of our leaves
// has 8,960, a full hash tile 8,192.
const tileMax = 16 << 10

// Tile fetches a file of the log by its path, such as "tile/0/000" (C2SP
// tlog-tiles). It is not checked: who reads it checks it against a checkpoint.
func (c *Client) Tile(ctx context.Context, path string) ([]byte, error) {
	res, err := c.send(ctx, http.MethodGet, "/"+path, "", nil)
	if err != nil {
		return nil, err
	}
	tile, err := readAnswer(res, tileMax)
	switch {
	case err == nil && res.StatusCode == http.StatusNotFound:
		err = sealpost.ErrNotFound
	case err == nil && res.StatusCode != http.StatusOK:
		err = problemIn(res, tile)
	}
	if err != nil {
		return nil, fmt.Errorf("tile: %w", err)
	}
	return tile, nil
}
